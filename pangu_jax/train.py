"""The train binary: `pangu train`, or `python -m pangu_jax.train`."""

from __future__ import annotations

import dataclasses
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
from tpu_npu_backends import cpu, processes

if TYPE_CHECKING:
    from pangu_jax.training.train import Trained
    from pangu_jax.workloads.exhibits import Exhibit


def run(
    gin_files: Sequence[str],
    bindings: Sequence[str],
    run_dir: str | Path,
    function: str | None = None,
) -> dict[str, Any]:
    """Train as the recipes and bindings say, in `run_dir`, resuming what is there.

    Where the environment names several processes (`tpu_npu_backends.processes`), this is one of them.

    Args:
      gin_files: recipes by path or name; later ones win.
      bindings: "NAME=VALUE" each, over the recipes.
      run_dir: made when missing.
      function: the one the recipe must be for, `functions.TRAIN` or `TUNE`; either when None.

    Returns:
      The run's result, as JSON can hold it, with "report" (a path) and "text" (a table for people);
      empty in all processes but the first of several.

    Raises:
      UserError, DataError, BackendError: what the caller can fix, in one line.
    """
    cpu.one_arena()  # recipes import what they name
    with (
        recipes.using(gin_files, bindings, function=function) as recipe,
        processes.join_processes(mistakes=(UserError, DataError)),
    ):
        return _run(recipe.function.selector, recipes.dump(recipe), run_dir)


def _run(function: str, recipe: str, run_dir: str | Path) -> dict[str, Any]:
    import jax

    if function == functions.TUNE:
        from pangu_jax.apps.language.tuning.tune import tune

        trained = tune(out=str(run_dir), recipe=recipe)
    elif function == functions.TRAIN:
        from pangu_jax.training.train import train

        trained = train(run_dir=str(run_dir), recipe=recipe)
    else:
        raise UserError(f"this is a recipe of {function}, which trains nothing; see `pangu --help`")
    if jax.process_index():
        return {}
    # Not before: what draws charts takes half a second to import, and a first step is waited for.
    from pangu_jax.runs import exhibit_files, report, results, summary

    exhibits, baselines = _exhibits_and_baselines(trained)
    directory = RunDirectory(run_dir)
    exhibit_files.write(directory, exhibits)
    if baselines:
        write_atomically(directory.baselines, json.dumps(baselines, ensure_ascii=False, indent=1) + "\n")
    found = results.read(run_dir)
    page = report.write(run_dir, found)
    if not exhibits:  # what an earlier session left is in the report alone
        found = dataclasses.replace(found, exhibits=exhibit_files.Exhibits())
    text = summary.summary_table(trained.summary, found, page)
    return trained.summary | {"report": str(page), "baselines": baselines, "text": text}


def _exhibits_and_baselines(trained: Trained) -> tuple[list[Exhibit], dict[str, dict[str, float]]]:
    """What a finished run shows, and the baselines of its tasks; nothing of one that stops half-way.

    Of several processes none has all parameters, so they show nothing.
    """
    import jax

    from pangu_jax.apps import families

    workload = trained.workload
    if not trained.summary["finished"]:
        return [], {}
    exhibits = []
    if jax.process_count() == 1:
        exhibits = families.exhibits(workload, workload.evaluated(trained.variables), trained.run)
    return exhibits, workload.baselines()


if __name__ == "__main__":  # the command line is a floor above: it is run, not imported
    sys.argv.insert(1, "train")
    runpy.run_module("pangu_jax.cli", run_name="__main__")
