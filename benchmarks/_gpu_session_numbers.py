"""Parts of `gpu_session` about numbers: beside the CPU's in one process, and two runs to the bit.

python -m benchmarks._gpu_session_numbers FLAGS     # a run of `bits`: a line of JSON, its hashes
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import _our_step

RECIPE = "bench/small.gin"
WIDTHS = {"tiny": (32, 2, 64, 1), "full": (512, 8, 2048, 2)}  # model, heads, feed-forward, layers of a tower
FORMS = {
    "rotations": ["EncoderDecoder.position='rotary'"],
    "relative bias": ["EncoderDecoder.position='relative'"],
}


def shape(size: str) -> list[str]:
    """Bindings of a small model of that size."""
    d_model, heads, d_ff, layers = WIDTHS[size]
    return [
        f"EncoderDecoder.d_model={d_model}",
        f"EncoderDecoder.heads={heads}",
        f"EncoderDecoder.d_ff={d_ff}",
        f"EncoderDecoder.encoder_layers={layers}",
        f"EncoderDecoder.decoder_layers={layers}",
        f"EncoderDecoder.unroll={layers}",
        f"train.batch_size={2 if size == 'tiny' else 8}",
        *(["synthetic_tokens.encoder_length=32", "synthetic_tokens.decoder_length=16"] * (size == "tiny")),
    ]


def part_parity(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Loss and gradients of one batch by dtype and kernel: how far from the CPU's in float32, relatively."""
    ways = [
        ("cpu bfloat16", "bfloat16", "plain", None),
        ("float32, as a run has it", "float32", "plain", None),
        ("float32 as TF32", "float32", "plain", "default"),
        ("bfloat16, plain", "bfloat16", "plain", None),
        ("bfloat16, fused", "bfloat16", "flash", None),
    ]
    forms = dict(FORMS)
    if flags.size == "tiny":
        forms, ways = {"relative bias": FORMS["relative bias"]}, [ways[1], ways[-1]]
    for form, bindings in forms.items():
        bindings = [*shape(flags.size), *bindings]
        reference = _gradients(bindings, "cpu", "float32", "plain", "highest")
        yield {"form": form, "way": "cpu float32", "loss": reference[0]}
        for name, dtype, kernel, precision in ways:
            backend = "cpu" if name.startswith("cpu") else flags.backend
            began = time.perf_counter()
            try:
                found = _gradients(bindings, backend, dtype, kernel, precision)
            except Exception as error:
                yield {"form": form, "way": name, "error": f"{type(error).__name__}: {error}"[:300]}
                continue
            seconds = round(time.perf_counter() - began, 1)
            yield {"form": form, "way": name, **_differences(found, reference), "seconds": seconds}


def _gradients(bindings, backend: str, dtype: str, kernel: str, precision: str | None):
    """Loss and gradients by name, on the host, of the same weights and windows."""
    import jax
    import numpy as np

    from pangu_jax.training.gradients import make_gradients
    from pangu_jax.workloads import Variables

    own = [*bindings, f"Layout.compute_dtype={dtype!r}", *_our_step.attention(kernel)]
    prepared = _our_step.prepare(RECIPE, own, backend)
    workload, device = prepared.workload, prepared.mesh.devices.flat[0]
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        given = workload.start(jax.random.key(0), workload.given())
    variables = Variables(*jax.device_put(given, device))
    gradients = jax.jit(
        make_gradients(workload, prepared.layout, prepared.mesh, prepared.run, prepared.batch_size)
    )
    with jax.default_matmul_precision(precision):
        grads, sums = gradients(
            variables, prepared.batch(), jax.random.split(jax.random.key(0), prepared.batch_size)
        )
    leaves = jax.tree.leaves_with_path(grads)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(g) for path, g in leaves}
    return float(sums.loss / sums.weight), named


def _differences(found, reference) -> dict[str, Any]:
    """Of the loss, of all gradients together (2-norms), and of the array that is furthest off."""
    import numpy as np

    off = {name: g.astype(np.float64) - reference[1][name] for name, g in found[1].items()}
    norm = lambda arrays: float(np.sqrt(sum((x.astype(np.float64) ** 2).sum() for x in arrays)))  # noqa: E731
    by_name = {name: norm([off[name]]) / max(norm([reference[1][name]]), 1e-30) for name in off}
    worst = max(by_name, key=lambda name: by_name[name])
    return {
        "loss": found[0],
        "loss_off": abs(found[0] / reference[0] - 1),
        "gradients_off": norm(off.values()) / norm(reference[1].values()),
        "worst": worst,
        "worst_off": by_name[worst],
    }


def part_bits(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Two processes of the same steps, with and without `deterministic`: whether all bits are equal."""
    for deterministic in (True, False):
        runs = []
        for _ in range(2):
            asked = {"size": flags.size, "backend": flags.backend, "deterministic": deterministic}
            command = [sys.executable, "-m", "benchmarks._gpu_session_numbers", json.dumps(asked)]
            ran = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if ran.returncode:
                raise SystemExit(f"a run ended with {ran.returncode}: its messages are above")
            runs.append(json.loads(ran.stdout.splitlines()[-1]))
        first, second = runs
        yield {
            "deterministic": deterministic,
            "equal": first["state"] == second["state"],
            "losses_equal": sum(a == b for a, b in zip(first["losses"], second["losses"], strict=True)),
            "steps": len(first["losses"]),
            "step_s": [run["step_s"] for run in runs],
            "compile_s": [run["compile_s"] for run in runs],
            "attention": first["attention"],
            "dtype": first["dtype"],
        }


def _run_of_bits(asked: dict[str, Any]) -> dict[str, Any]:
    """Steps with their losses, and a hash of the state that they leave; as `train.deterministic` has them."""
    import jax
    import numpy as np

    from tpu_npu_backends import gpu_numbers

    steps, more = (3, 2) if asked["size"] == "tiny" else (20, 100)
    bindings = shape("tiny") if asked["size"] == "tiny" else []
    prepared = _our_step.prepare(RECIPE, bindings, asked["backend"])
    asked_for = asked["deterministic"] and prepared.backend.platform == "cuda"
    step = _our_step.OurStep(prepared, gpu_numbers.deterministic() if asked_for else None)
    losses = [float(step.advance()["loss"]).hex() for _ in range(steps)]
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(step.state):
        digest.update(np.asarray(leaf).tobytes())
    return {
        "losses": losses,
        "state": digest.hexdigest(),
        "step_s": step.seconds(more),
        "compile_s": round(step.compile_s, 1),
        "attention": prepared.run.kernel,
        "dtype": str(prepared.run.dtype),
    }


if __name__ == "__main__":
    print(json.dumps(_run_of_bits(json.loads(sys.argv[1]))))
