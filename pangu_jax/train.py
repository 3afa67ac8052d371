"""The train binary: `pangu train`, or `python -m pangu_jax.train`."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_pipelines.errors import DataError
from pangu_jax import recipes
from pangu_jax.errors import UserError
from pangu_jax.recipes import functions
from pangu_jax.runs.run_directory import RunDirectory, write_atomically
from tpu_npu_backends import processes

if TYPE_CHECKING:
    from pangu_jax.training.train import Trained


def run(gin_files: Sequence[str], bindings: Sequence[str], run_dir: str | Path) -> dict[str, Any]:
    """Train as the recipes and bindings say, in `run_dir`, resuming what is there.

    Where the environment names several processes (`tpu_npu_backends.processes`), this is one of them.

    Args:
      gin_files: recipes by path or name; later ones win.
      bindings: "NAME=VALUE" each, over the recipes.
      run_dir: made when missing.

    Returns:
      The run's result, as JSON can hold it, with "report" (a path) and "text" (a table for people);
      empty in all processes but the first of several.

    Raises:
      UserError, DataError, BackendError: what the caller can mend, in one line.
    """
    with (
        recipes.using(gin_files, bindings, function=functions.TRAIN) as recipe,
        processes.joined(mistakes=(UserError, DataError)),
    ):
        return _run(recipes.dump(recipe), run_dir)


def _run(recipe: str, run_dir: str | Path) -> dict[str, Any]:
    import jax

    from pangu_jax.runs import report, summary
    from pangu_jax.training.train import train

    trained = train(run_dir=str(run_dir), recipe=recipe)
    if jax.process_index():
        return {}
    samples, baselines = _look_at(trained)
    directory = RunDirectory(run_dir)
    for path, content in ((directory.samples, samples), (directory.baselines, baselines)):
        if content:
            write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    page = report.write(run_dir)
    text = summary.summary_table(trained.summary, baselines, samples, page)
    return trained.summary | {"report": str(page), "baselines": baselines, "text": text}


def _look_at(trained: Trained) -> tuple[list[dict[str, str]], dict[str, dict[str, float]]]:
    """Samples, and n-gram baselines a task, of a finished run; nothing of one that stops half-way.

    Several processes draw no samples: none of them has all parameters.
    """
    import jax

    from pangu_jax.apps.language.decoding.samples import samples
    from pangu_jax.workloads.language import LanguageModel

    if not isinstance(trained.workload, LanguageModel) or not trained.summary["finished"]:
        return [], {}
    alone = jax.process_count() == 1
    shown = samples(trained.workload, trained.variables.params, trained.run.dtype) if alone else []
    return shown, trained.workload.baselines()


if __name__ == "__main__":  # the command line is a floor above: it is run, not imported
    sys.argv.insert(1, "train")
    runpy.run_module("pangu_jax.cli", run_name="__main__")
