"""One training step of an Earth-specific transformer on one CPU core: this library, and mfai's PanguWeather
in PyTorch, of the same shape, in turns.

32 x 64 cells, 7 levels of 3 variables and 1 on the surface, patches (1, 2, 2), windows (2, 4, 8), widths 32
and 64, heads 4 and 8, two blocks a layer, drop path .2, batch 4, mean absolute error, AdamW, fp32. Each lives
in a process of its own; CPU-seconds are compared, of one thread each on one core. With --forward a forward
pass alone.

    pip install torch==2.13.0
    pip install --no-deps mfai==9.0.1 timm dataclasses-json marshmallow typing-inspect mypy-extensions
    python -m benchmarks.weather_step [--rounds 10] [--threads 1] [--forward]
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks import _turns
from benchmarks._turns import Worker

LEVELS, LATITUDES, LONGITUDES, UPPER, SURFACE, CONSTANTS = 7, 32, 64, 3, 1, 1
PATCH, WINDOW, DIMS, HEADS, DEPTHS, BATCH = (1, 2, 2), (2, 4, 8), (32, 64), (4, 8), (2, 2), 4
LEARNING_RATE, DECAY = 5e-4, 3e-6
WARM_UP, STEPS = 2, 2  # steps before the first round, and of a round
BAR = 0.4  # of the peer's CPU-seconds


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Two states each: upper [B, 2, L, H, W, U] and surface [B, 2, H, W, S]."""
    rng = np.random.default_rng(0)
    upper = rng.normal(size=(BATCH, 2, LEVELS, LATITUDES, LONGITUDES, UPPER))
    surface = rng.normal(size=(BATCH, 2, LATITUDES, LONGITUDES, SURFACE))
    return upper.astype(np.float32), surface.astype(np.float32)


def mfai(forward: bool) -> Callable[[], float]:
    """A step of mfai's network."""
    import torch

    from benchmarks import _mfai_peer

    torch.manual_seed(0)
    peer = _mfai_peer.loaded()
    settings = peer.PanguWeatherSettings(
        plevel_patch_size=PATCH, token_size=DIMS[0], layer_depth=DEPTHS, num_heads=HEADS,
        surface_variables=SURFACE, plevel_variables=UPPER, plevels=LEVELS, static_length=CONSTANTS,
        window_size=WINDOW,
    )  # fmt: skip
    model = peer.PanguWeather(1, 1, (LATITUDES, LONGITUDES), settings).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
    upper, surface = (torch.from_numpy(np.ascontiguousarray(np.moveaxis(a, -1, 2))) for a in drawn())
    constants = torch.zeros(BATCH, CONSTANTS, LATITUDES, LONGITUDES)
    print(f"mfai: {sum(p.numel() for p in model.parameters()):,} parameters", file=sys.stderr)

    def loss_of() -> torch.Tensor:
        above, below = model(upper[:, 0], surface[:, 0], constants)
        return (above - upper[:, 1]).abs().mean() + 0.25 * (below - surface[:, 1]).abs().mean()

    def step() -> float:
        if forward:
            with torch.no_grad():
                return loss_of().item()
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        optimizer.step()
        return loss.item()

    if forward:
        model.eval()
    return step


def ours(forward: bool) -> Callable[[], float]:
    """A step of this library, as `pangu train` runs it."""
    from tpu_npu_backends import cpu

    cpu.one_arena()
    from benchmarks import _weather_step_ours

    return _weather_step_ours.step(forward)


WORKERS = {"ours": ours, "mfai": mfai}


def serve(name: str, forward: bool) -> None:
    """Worker: answers with the CPU-seconds of a step, the mean of `STEPS`, and the last loss."""
    step = WORKERS[name](forward)
    for _ in range(WARM_UP):
        step()

    def timed(_: str) -> tuple[float, float]:
        start, loss = time.process_time(), 0.0
        for _ in range(STEPS):
            loss = step()
        return (time.process_time() - start) / STEPS, loss

    _turns.serve("ready", timed)


def main() -> None:
    """Run both in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="of each, in turns, after the warm-up")
    parser.add_argument("--threads", type=int, default=1, help="of each, on as many cores; 1")
    parser.add_argument("--forward", action="store_true", help="a forward pass alone")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-flags.threads :])
    if flags.worker:
        serve(flags.worker, flags.forward)
        return
    environment = _turns.ONE_THREAD if flags.threads == 1 else {}
    given = ("--threads", str(flags.threads), *(["--forward"] if flags.forward else []))
    workers = {name: Worker("weather_step", name, given, environment=environment) for name in WORKERS}
    answers = _turns.take_turns(workers, flags.rounds)
    taken = {name: [seconds for seconds, _ in each] for name, each in answers.items()}
    print(f"{'':<8}{'CPU-s/step':>11}{'min':>8}{'max':>8}{'last loss':>11}")
    for name, seconds in taken.items():
        print(
            f"{name:<8}{statistics.median(seconds):>11.4f}{min(seconds):>8.4f}{max(seconds):>8.4f}"
            f"{answers[name][-1][1]:>11.4f}"
        )
    ratio = statistics.median(taken["ours"]) / statistics.median(taken["mfai"])
    print(f"mfai / ours, {_turns.compared(taken['ours'], taken['mfai'])}")
    print(f"CPU-seconds of ours over those of mfai: {ratio:.3f}" + ("" if flags.forward else f" (bar {BAR})"))


if __name__ == "__main__":
    main()
