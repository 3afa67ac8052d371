"""One optimizer step of a plain ViT on one CPU core: this library, eager PyTorch, plain JAX, in turns.

192 wide, 6 deep, 3 heads, 32 pixels in patches of 4 (64 tokens), 10 classes, 2.69M parameters, batch 64,
AdamW, fp32. Each lives in a process of its own on one core with one thread, and they step in turns; what is
compared is CPU-seconds, so that what else the machine does counts as little as it can. All have the same
pictures, and the losses are printed: a step that is fast because it is wrong is seen.

    pip install torch==2.13.0     # the peer; without it, this library and plain JAX alone are timed
    python -m benchmarks.vision_step [--rounds 15] [--core 1] [--beside FOLDER]

FOLDER is a checkout of this library as it was: its step is timed as well.
"""

import argparse
import importlib.util
import os
import statistics
import time

import numpy as np

from benchmarks import _turns
from benchmarks._turns import Worker

WIDTH, DEPTH, HEADS, SIZE, PATCH, CLASSES, BATCH = 192, 6, 3, 32, 4, 10, 64
PEAK_SIZE = 1536
WARM_UP = 4  # the first compiles; the next ones let each allocator settle


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """The batch that all have: uint8 [B, size, size, 3] and int32 [B]."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
    return images, rng.integers(0, CLASSES, BATCH, np.int32)


def ours():
    """A step of this library, as `pangu train` runs it."""
    from tpu_npu_backends import cpu

    cpu.one_arena()
    from benchmarks._vision_step_ours import step

    return step()


def pytorch():
    """A step of PyTorch."""
    from benchmarks import _vision_step_peers

    return _vision_step_peers.pytorch()


def plain_jax():
    """A step of JAX and optax alone."""
    from benchmarks import _vision_step_peers

    return _vision_step_peers.plain_jax()


def peak():
    """One product of two square matrices, by the quicker of what is at hand."""
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        a = torch.randn(PEAK_SIZE, PEAK_SIZE)
        return lambda: (a @ a)[0, 0].item()
    a = np.random.default_rng(0).standard_normal((PEAK_SIZE, PEAK_SIZE), np.float32)
    return lambda: float((a @ a)[0, 0])


WORKERS = {"ours": ours, "pytorch": pytorch, "plain jax": plain_jax, "peak": peak}


def serve(name: str) -> None:
    """Worker: answers with the CPU-seconds of a step and its loss."""
    step = WORKERS[name]()
    for _ in range(WARM_UP):
        step()

    def timed(_: str) -> tuple[float, float]:
        start = time.process_time()
        loss = step()
        return time.process_time() - start, loss

    _turns.serve("ready", timed)


def main() -> None:
    """Run all workers in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="steps of each, in turns, after the warm-up")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core of all")
    parser.add_argument("--beside", metavar="FOLDER", help="a checkout of this library, timed as well")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    os.sched_setaffinity(0, {flags.core})  # and of the workers, which are started from here
    if flags.worker:
        serve(flags.worker)
        return
    names = list(WORKERS)
    if not importlib.util.find_spec("torch"):
        print("torch is not installed: no peer in this table")
        names.remove("pytorch")
    one = _turns.ONE_THREAD
    workers = {name: Worker("vision_step", name, environment=one) for name in names}
    if flags.beside:
        workers["before"] = Worker("vision_step", "ours", folder=flags.beside, environment=one)
    report(_turns.take_turns(workers, flags.rounds))


def report(answers: dict[str, list[tuple[float, float]]]) -> None:
    """Medians, share of the peak, and ratios round by round."""
    taken = {name: [seconds for seconds, _ in each] for name, each in answers.items()}
    best = 2 * PEAK_SIZE**3 / min(taken.pop("peak"))
    tokens = (SIZE // PATCH) ** 2
    per_token = 24 * WIDTH**2 + 4 * tokens * WIDTH
    flops = 3 * BATCH * tokens * (DEPTH * per_token + 2 * PATCH * PATCH * 3 * WIDTH)
    print(
        f"{'':<11}{'CPU-s/step':>11}{'min':>8}{'max':>8}{'pictures/CPU-s':>16}{'of peak':>9}{'last loss':>11}"
    )
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        print(
            f"{name:<11}{median:>11.3f}{min(seconds):>8.3f}{max(seconds):>8.3f}{BATCH / median:>16.0f}"
            f"{flops / median / best:>9.1%}{answers[name][-1][1]:>11.4f}"
        )
    print(
        f"peak: {best / 1e9:.0f} GFLOP/s of one core ({PEAK_SIZE} x {PEAK_SIZE} product, best of all rounds)"
    )
    for other in [name for name in taken if name != "ours"]:
        ratio = _turns.compared(taken["ours"], taken[other])
        print(f"ours / {other}, pictures per CPU-second, {ratio}")


if __name__ == "__main__":
    main()
