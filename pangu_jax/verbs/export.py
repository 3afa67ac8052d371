"""A model of vision as a file that runs without this library."""

import argparse
import sys
from typing import Any

from pangu_jax.result import Result
from pangu_jax.verbs import device_flags
from pangu_jax.verbs.verb import Verb

FORMATS = ("stablehlo", "onnx", "litert")  # a contract test compares it with the table of formats


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="a classifier, or a trunk of vision")
    parser.add_argument(
        "--step", type=int, metavar="N", help="its checkpoint; the best or the newest unless given"
    )
    parser.add_argument(
        "--format", required=True, choices=FORMATS, help="for JAX and XLA, onnxruntime, or TensorFlow Lite"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the new folder")
    parser.add_argument("--int8", action="store_true", help="weights of products in 8 bits")
    parser.add_argument(
        "--verify", action="store_true", help="run it in a fresh virtual environment without this library"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an export that is there")


def _export(flags: argparse.Namespace) -> Result:
    from pangu_jax.apps.vision.exporting.exporting import export_model

    found = export_model(
        flags.format,
        flags.run_dir,
        flags.out,
        step=flags.step,
        int8=flags.int8,
        verify=flags.verify,
        overwrite=flags.overwrite,
        devices=device_flags.devices(flags),
        tell=lambda line: print(f"pangu export: {line}", file=sys.stderr, flush=True),
    )
    return Result(found, "\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> list[str]:
    share = found["bytes"] / found["weight_bytes"]
    lines = [
        f"{found['out']}: {found['file']}, {found['kind']} of {found['parameters']:,} parameters, "
        f"{found['bytes']:,} bytes, {share:.2f} of its {found['weights']} weights",
        f"checked on {found['checked']['pictures']}: {found['checked']['said']}",
    ]
    if loss := found.get("loss_of_int8"):
        lines.append(f"weights of 8 bits against those of 32: {loss['said']}")
    if report := found.get("verified"):
        lines.append(
            f"verified with {' '.join(report['packages'])}: first answer "
            f"{report['load_to_first_answer_seconds']:g} s after loading began, "
            f"{report['process_to_first_answer_seconds']:g} s after the process did"
        )
    return lines


VERBS: dict[str, Verb] = {
    "export": Verb(
        "write a model of vision as StableHLO, ONNX or LiteRT: a folder that is used without this library",
        "pangu export --run_dir runs/tuned --format onnx --out flowers-onnx/ --verify",
        _flags,
        _export,
        opens_run=True,
    ),
}
