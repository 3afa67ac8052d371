"""How long sub-models take on this machine: a table of widths and layers, from which every one is predicted.

A depth adds equal layers, so of each width the shallowest is timed and one more with each stage deeper: their
differences are what a layer takes (as the table of Cai et al., arXiv 1908.09791, which is by block). Of each
program the least of many calls counts, all taken in turn: what else the machine does makes calls longer, and
never shorter.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from pangu_jax.workloads.vision.model.slicing import SubModel

Call = Callable[[], jax.Array]
Make = Callable[[SubModel], Call]
SECONDS = 0.4  # of a program in all rounds
ROUNDS, MOST = 8, 40  # rounds at least, and at most
CALLS = 10  # of a program in a round, at least
ALIKE = 0.02  # three times are, that differ by less


class LatencyTable(NamedTuple):
    """Seconds of a forward pass.

    Attributes:
      base: of each width, at the least depths.
      layers: of each width, of a layer more of each stage.
      least: those depths.
      timed: what was timed.
    """

    base: dict[int, float]
    layers: dict[int, tuple[float, float, float]]
    least: tuple[int, int, int]
    timed: dict[SubModel, float]

    def __call__(self, part: SubModel) -> float:
        """Predicted."""
        more = (own - least for own, least in zip(part.depths, self.least, strict=True))
        return self.base[part.width] + sum(
            count * each for count, each in zip(more, self.layers[part.width], strict=True)
        )


def table(parts: Sequence[SubModel], make: Make, seconds: float = SECONDS) -> LatencyTable:
    """The table of some sub-models.

    Args:
      parts: what is to be predicted.
      make: a sub-model's forward pass, compiled.
      seconds: for which each program is timed.
    """
    least, most = (tuple(of(part.depths[stage] for part in parts) for stage in range(3)) for of in (min, max))
    widths = sorted({part.width for part in parts})
    corners = {(width, -1): SubModel(width, _triple(least)) for width in widths}
    for width, stage in itertools.product(widths, range(3)):
        if most[stage] > least[stage]:
            deeper = [most[at] if at == stage else least[at] for at in range(3)]
            corners[width, stage] = SubModel(width, _triple(deeper))
    found = dict(zip(corners, timed([make(part) for part in corners.values()], seconds), strict=True))

    def layer(width: int, stage: int) -> float:
        if (width, stage) not in found:
            return 0.0
        more = found[width, stage] - found[width, -1]
        return max(0.0, more) / (most[stage] - least[stage])

    return LatencyTable(
        {width: found[width, -1] for width in widths},
        {width: (layer(width, 0), layer(width, 1), layer(width, 2)) for width in widths},
        _triple(least),
        {corners[key]: value for key, value in found.items()},
    )


def _triple(depths: Sequence[int]) -> tuple[int, int, int]:
    first, second, main = depths
    return first, second, main


def timed(calls: Sequence[Call], seconds: float = SECONDS) -> list[float]:
    """The least time of each of some programs, taken in turn.

    On a busy machine most calls are interrupted: rounds go on until the three least times of every program
    are alike, or there is no end to it.

    Args:
      calls: the programs.
      seconds: for which each is called at least.
    """
    for call in calls:
        call().block_until_ready()  # compiled, and its weights near
    least: list[list[float]] = [[] for _ in calls]
    for number in range(MOST):
        for at, call in enumerate(calls):
            until, took = time.perf_counter() + seconds / ROUNDS, []
            while len(took) < CALLS or time.perf_counter() < until:
                began = time.perf_counter()
                call().block_until_ready()
                took.append(time.perf_counter() - began)
            least[at] = sorted(least[at] + took)[:3]
        if number + 1 >= ROUNDS and all(times[2] <= (1 + ALIKE) * times[0] for times in least):
            break
    return [times[0] for times in least]
