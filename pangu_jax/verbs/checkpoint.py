"""Checkpoints: what is in them, whether they are whole, and those of other libraries."""

import argparse
import importlib.util

from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs import device_flags
from pangu_jax.verbs.verb import Verb


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


def _format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", required=True, choices=["hf"], help="hf: Hugging Face, T5's family")


def _import_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="folder of a saved model")
    _format(parser)
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="the new run directory")


def _import(flags: argparse.Namespace) -> Result:
    _require_extra()
    from pangu_jax.apps.language.conversion import importing

    found = importing.import_hugging_face(flags.source, flags.run_dir)
    text = (
        f"{found['model_type']}, {found['parameters']:,} parameters ({', '.join(found['dtypes'])}), "
        f"{found['vocabulary_ids']:,} ids in {found['rows']:,} rows: {found['run_dir']}"
    )
    return Result(found, "\n".join([text, *(f"note: {note}" for note in found["notes"])]))


def _export_flags(parser: argparse.ArgumentParser) -> None:
    _format(parser)
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="a run directory")
    parser.add_argument("--step", type=int, metavar="N", help="the checkpoint; the newest unless given")
    parser.add_argument("--out", required=True, metavar="DIR", help="the new folder")
    parser.add_argument("--shard_gb", type=float, default=2.0, metavar="GB", help="largest file; 2")


def _export(flags: argparse.Namespace) -> Result:
    _require_extra()
    from pangu_jax.apps.language.conversion import exporting

    devices = device_flags.devices(flags)
    found = exporting.export_hugging_face(flags.run_dir, flags.out, flags.step, flags.shard_gb, devices)
    text = (
        f"step {found['step']}: {found['tensors']} tensors ({', '.join(found['dtypes'])}), "
        f"{found['bytes'] / 1e9:.2f} GB in {len(found['files'])} file(s): {found['out']}"
    )
    return Result(found, text)


def _require_extra() -> None:
    if importlib.util.find_spec("safetensors") is None:
        raise UserError("checkpoints of Hugging Face need safetensors: pip install 'pangu-jax[hf]'")


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
        "make a run directory of a T5, T5 v1.1, mT5 or ByT5 of Hugging Face",
        "pangu checkpoint import --format hf mengzi-t5-base/ --run_dir runs/mengzi",
        _import_flags,
        _import,
    ),
    "checkpoint export": Verb(
        "write a checkpoint of T5's formulation for transformers",
        "pangu checkpoint export --format hf --run_dir runs/mengzi --out mengzi-tuned/",
        _export_flags,
        _export,
        opens_run=True,
    ),
}
