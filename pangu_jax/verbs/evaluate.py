"""Measuring a model on benchmark tasks, or a trunk on labelled pictures."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs import device_flags, outputs
from pangu_jax.verbs.progress_rows import print_row
from pangu_jax.verbs.verb import Verb

SCORES = "weather_scores.zarr"  # in the run directory


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="the run whose model is measured")
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="NAME",
        help="a task instead of the recipe's; may be repeated",
    )
    parser.add_argument(
        "--held_out",
        action="store_true",
        help="measure the held-out loss and the evaluators of the run's own recipe, as training does: for "
        "runs of every family; its data must be there",
    )
    parser.add_argument(
        "--predictions", metavar="FILE", help="write each answer there, a JSON object per line"
    )
    parser.add_argument("--submission", metavar="ZIP", help="write the leaderboard's files there")


def _evaluate(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes
    from pangu_jax.recipes.functions import (
        EVALUATE,
        EVALUATE_IMAGES,
        EVALUATE_RETRIEVAL,
        EVALUATE_WEATHER,
        wanted,
    )

    if flags.held_out:
        return _held_out(flags)
    files = flags.gin_file or ["eval/fewclue.gin"]
    if (function := wanted(recipes.imported(files))) == EVALUATE_IMAGES:
        return _images(flags, files)
    if function == EVALUATE_RETRIEVAL:
        return _retrieval(flags, files)
    if function == EVALUATE_WEATHER:
        return _weather(flags, files)
    for path, flag in ((flags.predictions, "--predictions"), (flags.submission, "--submission")):
        if path:
            outputs.require_writable(path, flag)
    tasks = [f"evaluate.tasks={flags.task!r}"] if flags.task else []
    with recipes.using(files, [*flags.bindings, *tasks], function=EVALUATE) as recipe:
        from pangu_jax.apps.language.benchmarks import submissions
        from pangu_jax.apps.language.benchmarks.evaluate import evaluate

        found = evaluate(run_dir=flags.run_dir, on_row=print_row, devices=device_flags.devices(flags, recipe))
        if flags.predictions:
            _write_predictions(flags.predictions, found.predictions)
        if flags.submission:
            submissions.write(flags.submission, found.predictions)
    value = {"run_dir": flags.run_dir, "recipe": recipes.dump(recipe), "rows": found.rows}
    return Result(value, _table(found.rows))


def _images(flags: argparse.Namespace, files: Sequence[str]) -> Result:
    from pangu_jax import recipes
    from pangu_jax.apps.vision.measuring import images_of_run
    from pangu_jax.recipes.functions import EVALUATE_IMAGES
    from pangu_jax.runs import opening

    _require_none_of(flags, ("task", "predictions", "submission"), "this recipe measures pictures")
    opening.require_family(flags.run_dir, "vision")
    own = images_of_run.bindings(flags.run_dir, files, flags.bindings)
    with recipes.using(files, [*own, *flags.bindings], function=EVALUATE_IMAGES) as recipe:
        from pangu_jax.apps.vision.measuring import page
        from pangu_jax.apps.vision.measuring.evaluate_images import evaluate_images

        devices = device_flags.devices(flags, recipe)
        found = evaluate_images(run_dir=flags.run_dir, on_row=print_row, devices=devices)
        written = page.write(flags.run_dir, found, recipes.dump(recipe))
    value = {"run_dir": flags.run_dir, "recipe": recipes.dump(recipe), "page": str(written)}
    return Result(value | page.as_json(found), f"{page.text(found)}\n\n{written}")


def _retrieval(flags: argparse.Namespace, files: Sequence[str]) -> Result:
    from pangu_jax import recipes
    from pangu_jax.recipes.functions import EVALUATE_RETRIEVAL
    from pangu_jax.runs import opening

    of_texts = ("task", "predictions", "submission")
    _require_none_of(flags, of_texts, "this recipe measures pictures and captions")
    opening.require_family(flags.run_dir, "multimodal")
    from pangu_jax.apps.multimodal.measuring import pairs_of_run

    own = pairs_of_run.bindings(flags.run_dir, files, flags.bindings)
    with recipes.using(files, [*own, *flags.bindings], function=EVALUATE_RETRIEVAL) as recipe:
        from pangu_jax.apps.multimodal.measuring import results
        from pangu_jax.apps.multimodal.measuring.evaluate_retrieval import evaluate_retrieval

        found = evaluate_retrieval(run_dir=flags.run_dir, devices=device_flags.devices(flags, recipe))
    value = {"run_dir": flags.run_dir, "recipe": recipes.dump(recipe)} | results.as_json(found)
    return Result(value, results.text(found))


def _weather(flags: argparse.Namespace, files: Sequence[str]) -> Result:
    from pangu_jax import recipes
    from pangu_jax.recipes.functions import EVALUATE_WEATHER
    from pangu_jax.runs import opening

    _require_none_of(flags, ("task", "predictions", "submission"), "this recipe measures forecasts")
    opening.require_family(flags.run_dir, "science")
    from pangu_jax.apps.science.measuring import fields_of_run

    own = fields_of_run.bindings(flags.run_dir, files, flags.bindings)
    with recipes.using(files, [*own, *flags.bindings], function=EVALUATE_WEATHER) as recipe:
        from pangu_jax.apps.science.measuring import page, results
        from pangu_jax.apps.science.measuring.evaluate_weather import evaluate_weather

        devices = device_flags.devices(flags, recipe)
        found = evaluate_weather(run_dir=flags.run_dir, devices=devices)
        scores = Path(flags.run_dir, SCORES)
        results.write_zarr(scores, found)
        written = page.write(flags.run_dir, found, recipes.dump(recipe))
    value = {"run_dir": flags.run_dir, "recipe": recipes.dump(recipe)}
    value |= {"page": str(written), "scores": str(scores)}
    return Result(value | results.as_json(found), f"{results.text(found)}\n\n{scores}\n{written}")


def _held_out(flags: argparse.Namespace) -> Result:
    from pangu_jax.apps import held_out
    from pangu_jax.runs import opening

    of_benchmarks = ("gin_file", "task", "predictions", "submission")
    _require_none_of(flags, of_benchmarks, "--held_out measures what the run's own recipe says")
    device_flags.require_none(flags.bindings)
    run = opening.open_run(flags.run_dir, devices=device_flags.devices(flags), float32=True)
    found = held_out.evaluate(run)
    value = {
        "run_dir": flags.run_dir,
        "step": run.manifest["step"],
        "metrics": {name: {"value": value, "unit": unit} for name, (value, unit) in found.items()},
    }
    lines = [f"{name:<32} {value:.4g} {unit}".rstrip() for name, (value, unit) in found.items()]
    return Result(value, "\n".join(lines) or "the run holds nothing out")


def _require_none_of(flags: argparse.Namespace, names: Sequence[str], why: str) -> None:
    others = [f"--{name}" for name in names if getattr(flags, name)]
    if others:
        raise UserError(f"{why}: leave out {', '.join(others)}")


def _write_predictions(path: str, predictions: dict[str, list[tuple[str, str | int]]]) -> None:
    """JSON lines {"task", "id", "prediction"}."""
    from pangu_jax.runs.run_directory import write_atomically

    lines = [
        json.dumps({"task": task, "id": key, "prediction": value}, ensure_ascii=False) + "\n"
        for task, pairs in predictions.items()
        for key, value in pairs
    ]
    write_atomically(Path(path), "".join(lines))


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        numbers = "  ".join(f"{name} {value}" for name, value in row.items() if name not in ("task", "split"))
        lines.append(f"{row['task']:<22} {row['split']:<12} {numbers}")
    return "\n".join(lines)


VERBS: dict[str, Verb] = {
    "eval": Verb(
        "measure a model: CLUE, FewCLUE, summaries; pictures by probes; retrieval and captions; forecasts",
        "pangu eval --gin_file eval/fewclue.gin --run_dir runs/few --task fewclue/eprstmt --json out.json",
        _flags,
        _evaluate,
        takes_recipe=True,
        opens_run=True,
    ),
}
