"""`export_model`: a run's model in a folder that is used without this library."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pangu_jax import __version__
from pangu_jax.apps.vision.exporting import (
    checked_pictures,
    comparing,
    documents,
    exported_model,
    fresh_start,
    runtimes,
)
from pangu_jax.apps.vision.exporting.comparing import AnswerDifference
from pangu_jax.apps.vision.exporting.exported_model import ExportedModel
from pangu_jax.apps.vision.exporting.formats import FORMATS, ExportFormat, PlainProgram
from pangu_jax.apps.vision.exporting.plain_program import plain
from pangu_jax.errors import UserError
from pangu_jax.runs import opening
from pangu_jax.runs.exchange import folders
from pangu_jax.runs.inference_layout import ANY, Devices


def export_model(
    name: str,
    run_dir: str | Path,
    out: str | Path,
    step: int | None = None,
    int8: bool = False,
    verify: bool = False,
    overwrite: bool = False,
    devices: Devices = ANY,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write a model, hold its answers against the run's, and describe it.

    Args:
      name: of the format, one of `formats.NAMES`.
      run_dir: a run of vision: a classifier, or a trunk, of which features are exported.
      out: a new folder; there whole or not at all.
      step: the checkpoint; the best or the newest sound one when None.
      int8: keep weights of products in 8 bits.
      verify: run it in a fresh virtual environment too.
      overwrite: replace an export that is there.
      devices: where the run is opened.
      tell: what is going on, a line each.
    Returns:
      What model.json holds, "out", and with `verify` what `fresh_start.verified` gives.
    Raises:
      UserError, DataError, BackendError: there is no such run, `out` is taken, the format lacks an operation,
        or an answer differs by more than `comparing.TOLERANCE`: then the files are kept in OUT.refused.
    """
    format, out = FORMATS[name], Path(out).absolute()
    _require_place(out, overwrite)
    format.require()
    run = opening.open_run(run_dir, step, devices, family="vision", float32=True)
    model = exported_model.of_run(run)
    shown = checked_pictures.of_run(run, model.size, model.channels)
    tell(f"{model.parameters:,} parameters; held against {shown.source}")
    expected = model.reference(shown.pixels_BxSxSxC)
    program = _program(model, int8)
    facts: dict[str, Any] = {"run": str(run_dir), "step": run.manifest["step"]}
    with folders.made(out, "--out", overwrite) as unfinished:
        path = unfinished / format.file
        format.write(program, path)
        tell(f"{format.file}: {path.stat().st_size:,} bytes")
        if int8:
            rounded = np.asarray(jax.jit(program.function)(shown.pixels_BxSxSxC))
            loss = comparing.difference(expected, rounded, model.kind == "classifier")
            facts["loss_of_int8"] = _described(loss)
            expected = rounded
        checked = _checked(format, path, shown.pixels_BxSxSxC, expected, model)
        facts |= {
            "made_by": f"pangu_jax {__version__}",
            "weights": "int8" if int8 else "float32",
            "bytes": path.stat().st_size,
            "weight_bytes": program.weight_bytes,
            "checked": {"pictures": shown.source, "batches": list(runtimes.BATCHES), **_described(checked)},
        }
        described = _write_documents(format, model, expected.shape[1], facts, unfinished)
        if not checked.agrees:
            raise UserError(_refused(unfinished, out, f"its answers are not the model's: {checked}"))
        if verify:
            classes = model.kind == "classifier"
            report = fresh_start.verified(format, unfinished, shown.pixels_BxSxSxC, expected, classes, tell)
            if not report["agrees"]:
                differences = (AnswerDifference(**found) for found in report["batches"].values())
                worst = max(differences, key=lambda found: (not found.agrees, found.largest))
                raise UserError(_refused(unfinished, out, f"in a fresh environment: {worst}"))
            described = described | {"verified": report}
    return {"out": str(out), **described}


def _program(model: ExportedModel, int8: bool) -> PlainProgram:
    """For any number of pictures: it is traced of one, so no Python branch sees a size that is not known."""
    (batch,) = jax.export.symbolic_shape("b")
    sides = (batch, model.size, model.size, model.channels)
    argument = jax.ShapeDtypeStruct(sides, np.uint8)
    in_floats, function = (plain(jax.vmap(model.of_picture), kept) for kept in (False, int8))
    traced = jax.make_jaxpr(function)(argument)
    return PlainProgram(function, in_floats, argument, traced, model.output, int8)


def _checked(
    format: ExportFormat,
    path: Path,
    pixels_BxSxSxC: np.ndarray,
    expected_BxN: np.ndarray,
    model: ExportedModel,
) -> AnswerDifference:
    """Of all batch sizes the largest difference."""
    run = runtimes.OPEN[format.name](str(path))
    found = [
        comparing.difference(
            expected_BxN, runtimes.in_batches(run, pixels_BxSxSxC, size), model.kind == "classifier"
        )
        for size in runtimes.BATCHES
    ]
    return max(found, key=lambda each: (not each.agrees, each.largest))


def _described(found: AnswerDifference) -> dict[str, Any]:
    return {
        "max_difference": found.largest,
        "scale": found.scale,
        "classes_changed": found.classes_changed,
        "said": str(found),
    }


def _write_documents(
    format: ExportFormat, model: ExportedModel, outputs: int, facts: dict[str, Any], folder: Path
) -> dict[str, Any]:
    (folder / documents.EXAMPLE).write_text(documents.example(format, model), encoding="utf-8")
    described = documents.description(format, model, outputs, facts, folder)
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    (folder / documents.DESCRIPTION).write_text(text, encoding="utf-8")
    (folder / documents.README).write_text(documents.readme(described, format.title), encoding="utf-8")
    return described


def _require_place(out: Path, overwrite: bool) -> None:
    """UserError where there is something that may not be replaced."""
    if not overwrite:
        folders.require_empty(out, "--out")
        return
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not _is_export(out)):
        raise UserError(f"--out {out} is there and is no export: --overwrite replaces exports alone")


def _is_export(folder: Path) -> bool:
    try:
        found = json.loads((folder / documents.DESCRIPTION).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") in FORMATS


def _refused(unfinished: Path, out: Path, why: str) -> str:
    """Keeps the files aside; what is to be said."""
    kept = unfinished.rename(folders.aside(out, "refused"))
    return f"the export is refused, {why}; its files are in {kept}"
