"""Convolutions of a restorer, forward: this library beside PyTorch, one thread each, CPU-seconds, in turns.

The network is DnCNN's of 17 layers x 64 (arXiv 1608.03981, without its batch norms, which an evaluated model
folds into the kernels), on one grey picture of 180 x 180. Each library lives in a process of its own; PyTorch
is timed as it comes, [B, C, H, W], and once more with its weights and pictures in channels-last order. The
outputs of all are compared.

    pip install torch==2.13.0     # the peer; without it, this library alone is timed
    python -m benchmarks.convolutions [--rounds 9] [--core 0]
"""

import argparse
import importlib.util
import itertools
import json
import os
import statistics
import time

import numpy as np

from benchmarks import _turns
from benchmarks._turns import Worker

LAYERS, WIDTH, SIZE = 17, 64, 180
FLOPS = 18 * SIZE**2 * (2 * WIDTH + (LAYERS - 2) * WIDTH**2)
WARM_UP = 2
ONE_THREAD = _turns.ONE_THREAD | {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}


def weights() -> list[np.ndarray]:
    """Kernels [3, 3, in, out], the same for all."""
    draws = np.random.default_rng(0)
    widths = [1, *[WIDTH] * (LAYERS - 1), 1]
    shapes = [(3, 3, wide, out) for wide, out in itertools.pairwise(widths)]
    return [draws.normal(0, np.sqrt(2 / (9 * shape[2])), shape).astype(np.float32) for shape in shapes]


def picture() -> np.ndarray:
    """[1, S, S, 1]."""
    return np.random.default_rng(1).normal(0, 1, (1, SIZE, SIZE, 1)).astype(np.float32)


def ours(order: str) -> None:
    """Worker: by the convolution of the restorer, compiled as this library compiles for a CPU."""
    del order
    import jax

    from pangu_jax.workloads.vision.model.convolutions import convolve
    from tpu_npu_backends.cpu import COMPILER_OPTIONS

    @jax.jit
    def network(kernels, x):
        for kernel in kernels[:-1]:
            x = jax.nn.relu(convolve(x, kernel, np.zeros(kernel.shape[-1], np.float32)))
        return convolve(x, kernels[-1], np.zeros(1, np.float32))

    kernels, x = jax.device_put(weights()), jax.device_put(picture())
    run = network.lower(kernels, x).compile(compiler_options=COMPILER_OPTIONS)
    _serve(lambda: np.asarray(run(kernels, x)))


def pytorch(order: str) -> None:
    """Worker: by modules of PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    form = torch.channels_last if order == "channels last" else torch.contiguous_format
    layers: list[nn.Module] = []
    for kernel in weights():
        layer = nn.Conv2d(kernel.shape[2], kernel.shape[3], 3, padding=1)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
            layer.bias.zero_()
        layers += [layer, nn.ReLU()]
    network = nn.Sequential(*layers[:-1]).eval().to(memory_format=form)
    x = torch.from_numpy(picture().transpose(0, 3, 1, 2).copy()).to(memory_format=form)

    def advance() -> np.ndarray:
        with torch.inference_mode():
            return network(x).numpy().transpose(0, 2, 3, 1)

    _serve(advance)


def _serve(advance) -> None:
    """Greets with what is made, and answers with CPU-seconds of a pass."""
    for _ in range(WARM_UP):
        made = advance()

    def timed(_: str) -> float:
        start = time.process_time()
        advance()
        return time.process_time() - start

    _turns.serve(json.dumps(made.ravel()[:: SIZE + 1].tolist()), timed)


WORKERS = {
    "this library": (ours, ""),
    "PyTorch": (pytorch, ""),
    "PyTorch, channels last": (pytorch, "channels last"),
}


def main() -> None:
    """Run all workers in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="passes of each, in turns, after the warm-up")
    parser.add_argument("--core", type=int, help="the core that all share; any unless given")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.core is not None:
        os.sched_setaffinity(0, {flags.core})
    if flags.worker:
        work, order = WORKERS[flags.worker]
        work(order)
        return
    peer = importlib.util.find_spec("torch") is not None
    if not peer:
        print("torch is not installed: no peer in this table")
    core = [] if flags.core is None else ["--core", str(flags.core)]
    workers = {
        name: Worker("convolutions", name, core, environment=ONE_THREAD)
        for name in WORKERS
        if peer or not name.startswith("PyTorch")
    }
    made = {name: np.array(json.loads(worker.greeting)) for name, worker in workers.items()}
    report(_turns.take_turns(workers, flags.rounds), made)


def report(taken: dict[str, list[float]], made: dict[str, np.ndarray]) -> None:
    """Medians, GFLOP/s, ratios round by round and how far the outputs are apart."""
    mine = "this library"
    print(f"{'':<24}{'CPU s':>8}{'min':>8}{'max':>8}{'GFLOP/s':>9}")
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        spread = f"{min(seconds):>8.3f}{max(seconds):>8.3f}"
        print(f"{name:<24}{median:>8.3f}{spread}{FLOPS / median / 1e9:>9.0f}")
    for name in [name for name in taken if name != mine]:
        ratio = _turns.compared(taken[mine], taken[name])
        apart = np.abs(made[name] - made[mine]).max() / np.abs(made[mine]).max()
        print(f"{mine} / {name}, passes per CPU-second, {ratio}; outputs {apart:.0e} apart")


if __name__ == "__main__":
    main()
