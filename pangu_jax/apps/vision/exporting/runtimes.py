"""Exported files as functions, by the runtime of each format alone: nothing of this library is imported here.

A fresh Python runs this file (`fresh_start`) as a script; the process that exports takes its functions.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

STARTED = time.time()


def stablehlo(path: str) -> Callable:
    """uint8 [B, S, S, C] -> fp32 [B, outputs], by JAX."""
    import numpy as np
    from jax import export

    call = export.deserialize(bytearray(Path(path).read_bytes())).call
    return lambda pixels: np.asarray(call(pixels))


def onnx(path: str) -> Callable:
    """The same by onnxruntime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": pixels})[0]


def litert(path: str) -> Callable:
    """The same by LiteRT's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(path).get_signature_runner()
    return lambda pixels: next(iter(run(pixels=pixels).values())).copy()


OPEN = {"stablehlo": stablehlo, "onnx": onnx, "litert": litert}
IMPORTS = {"stablehlo": "jax.export", "onnx": "onnxruntime", "litert": "ai_edge_litert.interpreter"}
BATCHES = (1, 7)


def in_batches(run: Callable, pixels, batch: int):
    """Answers for all pictures, always so many at a time: the last time some that had their turn too."""
    import numpy as np

    made = []
    for first in range(0, len(pixels), batch):
        at = max(0, min(first, len(pixels) - batch))
        made.append(run(pixels[at : at + batch])[first - at :])
    return np.concatenate(made)


def main(format: str, model: str, folder: str, began: str) -> None:
    """Answers for folder/pixels.npy into folder/answers_BATCH.npy; times in seconds to standard output.

    Args:
      format: a key of `OPEN`.
      model: the exported file.
      folder: of arrays.
      began: `time.time()` when this process was asked for.
    """
    import importlib

    import numpy as np

    importlib.import_module(IMPORTS[format])
    imported = time.time()
    pixels = np.load(Path(folder, "pixels.npy"))
    opening, working = time.time(), time.process_time()
    run = OPEN[format](model)
    run(pixels[:1])
    answered = {"wall": time.time(), "cpu": time.process_time() - working}
    for batch in BATCHES:
        np.save(Path(folder, f"answers_{batch}.npy"), in_batches(run, pixels, batch))
    times = {
        "imports_seconds": imported - STARTED,
        "load_to_first_answer_seconds": answered["wall"] - opening,
        "load_to_first_answer_cpu_seconds": answered["cpu"],
        "process_to_first_answer_seconds": answered["wall"] - float(began),
    }
    print(json.dumps({name: round(value, 3) for name, value in times.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
