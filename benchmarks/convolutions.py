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
import subprocess
import sys
import time

import numpy as np

LAYERS, WIDTH, SIZE = 17, 64, 180
FLOPS = 18 * SIZE**2 * (2 * WIDTH + (LAYERS - 2) * WIDTH**2)
WARM_UP = 2


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
    for _ in range(WARM_UP):
        made = advance()
    print(json.dumps(made.ravel()[:: SIZE + 1].tolist()), flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        advance()
        print(time.process_time() - start, flush=True)


WORKERS = {
    "this library": (ours, ""),
    "PyTorch": (pytorch, ""),
    "PyTorch, channels last": (pytorch, "channels last"),
}


class Worker:
    """A process that makes one pass for each line it is sent."""

    def __init__(self, name: str, core: int | None):
        one_thread = {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
        command = [sys.executable, "-m", "benchmarks.convolutions", "--worker", name]
        if core is not None:
            command += ["--core", str(core)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **one_thread}
        )
        self.made = np.array(json.loads(self.process.stdout.readline()))
        self.seconds: list[float] = []

    def step(self) -> None:
        """One pass, timed inside the worker."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.seconds.append(float(self.process.stdout.readline()))

    def close(self) -> None:
        """Let the process end."""
        self.process.stdin.close()
        self.process.wait()


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
    workers = {name: Worker(name, flags.core) for name in WORKERS if peer or not name.startswith("PyTorch")}
    for _ in range(flags.rounds):
        for worker in workers.values():
            worker.step()
    for worker in workers.values():
        worker.close()
    report(workers)


def report(workers: dict[str, Worker]) -> None:
    """Medians, GFLOP/s, ratios round by round and how far the outputs are apart."""
    mine = workers["this library"]
    print(f"{'':<24}{'CPU s':>8}{'min':>8}{'max':>8}{'GFLOP/s':>9}")
    for name, worker in workers.items():
        median = statistics.median(worker.seconds)
        spread = f"{min(worker.seconds):>8.3f}{max(worker.seconds):>8.3f}"
        print(f"{name:<24}{median:>8.3f}{spread}{FLOPS / median / 1e9:>9.0f}")
    for name, worker in workers.items():
        if worker is mine:
            continue
        ratios = [b / a for a, b in zip(mine.seconds, worker.seconds, strict=True)]
        apart = np.abs(worker.made - mine.made).max() / np.abs(mine.made).max()
        print(
            f"this library / {name}, passes per CPU-second, round by round: median "
            f"{statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f}); outputs "
            f"{apart:.0e} apart"
        )


if __name__ == "__main__":
    main()
