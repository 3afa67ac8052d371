"""Checkpoints: what is in them, whether they are whole, and those of other libraries."""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pangu_jax.errors import OtherFamilyError, UserError
from pangu_jax.result import Result
from pangu_jax.verbs import device_flags
from pangu_jax.verbs.verb import Verb

if TYPE_CHECKING:
    from pangu_jax.runs.inference_layout import Devices


def _checkpoint_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", metavar="DIR", help="a run directory, its checkpoints/, or one checkpoint")


def _inspect(flags: argparse.Namespace) -> Result:
    from pangu_jax.runs import checkpoint_files, checkpoint_table

    found = checkpoint_files.inspect(flags.dir)
    return Result(found, checkpoint_table.render(found).rstrip())


def _verify(flags: argparse.Namespace) -> Result:
    from pangu_jax.runs import checkpoint_files, checkpoint_table

    found = checkpoint_files.verify(flags.dir)
    damaged = any(step["state"] == "corrupt" for step in found["steps"])
    return Result(found, checkpoint_table.render(found).rstrip(), status=2 if damaged else 0)


FORMATS = {
    "hf": "Hugging Face, T5's family, openPangu, ViT, Chinese-CLIP and SigLIP",
    "pangu_alpha": "PanGu-alpha, .npy or MindSpore's .ckpt",
    "timm": "timm's vision transformers",
    "big_vision": "its ViT, .npz",
    "pth": "HiViT and MAE of vision",
    "mfai": "mfai's PanguWeather",
    "onnx": "Pangu-Weather as released",
}
OF_WEATHER = ("mfai", "onnx")


TWO_TOWERS = ("chinese_clip", "siglip")  # model_type in config.json


def _format(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    described = "; ".join(f"{name}: {FORMATS[name]}" for name in names)
    parser.add_argument("--format", required=True, choices=names, help=described)


def _import_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="folder or file of a saved model")
    _format(parser, tuple(FORMATS))
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="the new run directory")
    parser.add_argument(
        "--heads",
        type=int,
        metavar="N",
        help="of vision and pangu_alpha: heads of attention, where the files do not say it",
    )
    parser.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="of vision: side of pictures, to which positions are resized",
    )
    alpha = parser.add_argument_group("of pangu_alpha")
    alpha.add_argument("--vocabulary", metavar="FILE", help="vocab.model; that of the folder unless given")
    alpha.add_argument(
        "--gelu", choices=("tanh", "exact", "quick"), help="which the weights were trained with; tanh"
    )
    weather = parser.add_argument_group("of weather, whose weights do not say of what states they are")
    weather.add_argument(
        "--fields", metavar="STORE", help="a store of fields: grid, levels, constants and statistics"
    )
    weather.add_argument("--lead_hours", type=int, metavar="N", help="hours that a step goes ahead")
    weather.add_argument(
        "--upper", metavar="NAMES", help="of mfai: variables on levels in its order, z,q,t; all of the store"
    )
    weather.add_argument("--surface", metavar="NAMES", help="of mfai: on the surface, likewise")
    weather.add_argument(
        "--window", metavar="Z,H,W", help="of mfai: levels, latitudes, longitudes, where several fit"
    )
    weather.add_argument(
        "--statistics", metavar="DIR", help="of onnx: the means and deviations that are beside the weights"
    )


def _import_weather(flags: argparse.Namespace) -> Result:
    from pangu_jax.apps.science.conversion import importing
    from pangu_jax.apps.science.conversion.source import AskedFields

    if flags.fields is None or flags.lead_hours is None:
        raise UserError(
            f"--format {flags.format} needs --fields STORE and --lead_hours N: weights do not say of what "
            "states they are, nor how far a step goes"
        )
    window = _listed(flags.window)
    if window is not None and (len(window) != 3 or not all(side.isdecimal() for side in window)):
        raise UserError(f"--window {flags.window}: give three numbers, such as 2,6,12")
    sides: Any = None if window is None else tuple(map(int, window))
    asked = AskedFields(
        Path(flags.fields), flags.lead_hours, _listed(flags.upper), _listed(flags.surface), sides,
        None if flags.statistics is None else Path(flags.statistics),
    )  # fmt: skip
    found = importing.import_weather(flags.format, flags.source, flags.run_dir, asked)
    text = (
        f"{found['kind']}, {found['parameters']:,} parameters ({', '.join(found['dtypes'])}), "
        f"{found['grid']}, {found['lead_hours']} h a step: {found['run_dir']}"
    )
    return Result(found, "\n".join([text, *(f"note: {note}" for note in found["notes"])]))


def _listed(given: str | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(part.strip() for part in given.split(","))


def _import(flags: argparse.Namespace) -> Result:
    _require_extra()
    if flags.format in OF_WEATHER:
        if flags.heads or flags.size:
            raise UserError("--heads and --size are for models of vision; leave them out")
        _refuse_alphas(flags)
        return _import_weather(flags)
    for flag in ("fields", "lead_hours", "upper", "surface", "window", "statistics"):
        if getattr(flags, flag) is not None:
            raise UserError(f"--{flag} is for --format mfai and onnx; leave it out")
    if flags.format == "pangu_alpha":
        return _import_alpha(flags)
    _refuse_alphas(flags)
    from pangu_jax.apps.vision.conversion import importing as of_vision

    model_type = of_vision.model_type(flags.source) if flags.format == "hf" else None
    if flags.format != "hf" or model_type == "vit":
        for flag in ("heads", "size"):
            if (value := getattr(flags, flag)) is not None and value < 1:
                raise UserError(f"--{flag} {value}: give a number above 0")
        found = of_vision.import_vision(flags.format, flags.source, flags.run_dir, flags.heads, flags.size)
        text = (
            f"{found['kind']}, {found['parameters']:,} parameters ({', '.join(found['dtypes'])}), pictures "
            f"of {found['size']} pixels, {found['classes']:,} classes: {found['run_dir']}"
        )
    elif flags.heads or flags.size:
        raise UserError("--heads and --size are for models of vision; leave them out")
    elif model_type in TWO_TOWERS:
        from pangu_jax.apps.multimodal.conversion import importing as of_towers

        found = of_towers.import_towers(flags.source, flags.run_dir)
        text = (
            f"{found['kind']}, {found['parameters']:,} parameters ({', '.join(found['dtypes'])}), pictures "
            f"of {found['size']} pixels, captions of {found['length']} tokens, {found['vocabulary_ids']:,} "
            f"ids: {found['run_dir']}"
        )
    else:
        found = _imported_language(flags.source, flags.run_dir)
        text = _of_language(found)
    return Result(found, "\n".join([text, *(f"note: {note}" for note in found["notes"])]))


def _refuse_alphas(flags: argparse.Namespace) -> None:
    if flags.vocabulary is not None or flags.gelu is not None:
        raise UserError("--vocabulary and --gelu are for --format pangu_alpha; leave them out")


def _import_alpha(flags: argparse.Namespace) -> Result:
    from pangu_jax.apps.language.conversion.openpangu import alpha

    if flags.size is not None:
        raise UserError("--size is for models of vision; leave it out")
    if flags.heads is not None and flags.heads < 1:
        raise UserError(f"--heads {flags.heads}: give a number above 0")
    gelu = flags.gelu or "tanh"
    found = alpha.import_alpha(flags.source, flags.run_dir, flags.vocabulary, flags.heads, gelu)
    return Result(found, "\n".join([_of_language(found), *(f"note: {note}" for note in found["notes"])]))


def _of_language(found: dict[str, Any]) -> str:
    return (
        f"{found['model_type']}, {found['parameters']:,} parameters ({', '.join(found['dtypes'])}), "
        f"{found['vocabulary_ids']:,} ids in {found['rows']:,} rows: {found['run_dir']}"
    )


def _imported_language(source: str, run_dir: str) -> dict[str, Any]:
    from pangu_jax.apps.language.conversion.openpangu import classes

    if classes.is_published(source):
        from pangu_jax.apps.language.conversion.openpangu import importing as of_openpangu

        return of_openpangu.import_openpangu(source, run_dir)
    from pangu_jax.apps.language.conversion import importing

    return importing.import_hugging_face(source, run_dir)


def _export_flags(parser: argparse.ArgumentParser) -> None:
    _format(parser, ("hf", "pangu_alpha", "timm", "big_vision", "mfai"))
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="a run directory")
    parser.add_argument("--step", type=int, metavar="N", help="the checkpoint; the newest unless given")
    parser.add_argument("--out", required=True, metavar="DIR", help="the new folder")
    parser.add_argument("--shard_gb", type=float, default=2.0, metavar="GB", help="largest file; 2")


def _export(flags: argparse.Namespace) -> Result:
    _require_extra()
    devices = device_flags.devices(flags)
    found = _exported(flags, devices)
    text = (
        f"step {found['step']}: {found['tensors']} tensors ({', '.join(found['dtypes'])}), "
        f"{found['bytes'] / 1e9:.2f} GB in {len(found['files'])} file(s): {found['out']}"
    )
    return Result(found, "\n".join([text, *(f"note: {note}" for note in found.get("notes", ()))]))


def _exported(flags: argparse.Namespace, devices: "Devices") -> dict[str, Any]:
    """By the family of the run where both have the format."""
    if flags.format == "mfai":
        from pangu_jax.apps.science.conversion import exporting as of_weather

        return of_weather.export_weather(flags.run_dir, flags.out, flags.step, devices)
    if flags.format == "pangu_alpha":
        from pangu_jax.apps.language.conversion.openpangu import alpha_exporting

        return alpha_exporting.export_alpha(flags.run_dir, flags.out, flags.step, devices)
    from pangu_jax.apps.vision.conversion import exporting as of_vision

    arguments = flags.run_dir, flags.out, flags.step, flags.shard_gb, devices
    if flags.format != "hf":
        return of_vision.export_vision(flags.format, *arguments)
    from pangu_jax.apps.language.conversion import exporting

    try:
        return exporting.export_hugging_face(*arguments)
    except OtherFamilyError as error:
        family = error.family
        if family not in ("vision", "multimodal"):
            raise
    if family == "multimodal":
        from pangu_jax.apps.multimodal.conversion import exporting as of_towers

        return of_towers.export_towers(*arguments)
    return of_vision.export_vision(flags.format, *arguments)


def _require_extra() -> None:
    if importlib.util.find_spec("safetensors") is None:
        raise UserError("checkpoints of other libraries need safetensors: pip install 'pangu-jax[hf]'")


VERBS: dict[str, Verb] = {
    "checkpoint inspect": Verb(
        "show what a checkpoint holds, without a device",
        "pangu checkpoint inspect runs/quickstart",
        _checkpoint_dir,
        _inspect,
    ),
    "checkpoint verify": Verb(
        "read checkpoints through and report whether they are whole; exits 2 when one is damaged",
        "pangu checkpoint verify runs/quickstart",
        _checkpoint_dir,
        _verify,
    ),
    "checkpoint import": Verb(
        "make a run directory of an openPangu, a T5, a vision transformer, a model of both, or of weather",
        "pangu checkpoint import --format hf openPangu-Embedded-7B-V1.1/ --run_dir runs/7b",
        _import_flags,
        _import,
    ),
    "checkpoint export": Verb(
        "write a checkpoint for transformers, timm, big_vision or mfai",
        "pangu checkpoint export --format hf --run_dir runs/mengzi --out mengzi-tuned/",
        _export_flags,
        _export,
        opens_run=True,
    ),
}
