"""Every layout that the search looks at, as arrays.

Divisors of the chips over the axes of the mesh, times the ways to carry a step out.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import AXES, Layout

SCHEDULES = ("none", "gpipe", "circular", "1f1b")
REMATS = ("none", "dots", "full", "offload")
# "offload" is not looked for by itself: what the way to the host's memory costs is known for no chip here.
_SEARCHED_REMATS = REMATS[:3]
_MOST_REPEATS = 24

Mesh = dict[str, int]


@dataclass(frozen=True)
class Candidates:
    """Layouts, one per row. `mesh` numbers the meshes; `schedule` and `remat` are places in their tuples."""

    mesh: np.ndarray
    stage: np.ndarray
    data: np.ndarray
    fsdp: np.ndarray
    expert: np.ndarray
    model: np.ndarray
    sequence: np.ndarray
    schedule: np.ndarray
    repeats: np.ndarray
    microbatches: np.ndarray
    remat: np.ndarray
    zero: np.ndarray
    streams: np.ndarray

    @staticmethod
    def of(layout: Layout, towers: int) -> "Candidates":
        """One row, for a complete layout on mesh 0 of a model of so many towers."""
        around = layout.rounds(towers) * (1 if layout.schedule == "gpipe" else towers)
        row = {axis: getattr(layout, axis) for axis in AXES} | {
            "mesh": 0,
            "schedule": SCHEDULES.index(layout.schedule),
            "repeats": layout.repeats if layout.schedule == "none" else around,
            "microbatches": layout.microbatches,
            "remat": REMATS.index(layout.remat),
            "zero": layout.zero,
            "streams": layout.streams,
        }
        return Candidates(**{name: np.array([value]) for name, value in row.items()})

    def __len__(self) -> int:
        return len(self.mesh)

    def take(self, rows: np.ndarray) -> "Candidates":
        """Some rows, by number or by mask."""
        return Candidates(**{name: values[rows] for name, values in vars(self).items()})

    def layout(self, row: int, **fixed: Any) -> Layout:
        """One row as a layout; manual partitioning wherever there is something to part."""
        axes = {axis: int(getattr(self, axis)[row]) for axis in AXES}
        whole = all(size == 1 for size in axes.values())
        found: dict[str, Any] = {
            **axes,
            "schedule": SCHEDULES[self.schedule[row]],
            "repeats": int(self.repeats[row]),
            "microbatches": int(self.microbatches[row]),
            "remat": REMATS[self.remat[row]],
            "zero": int(self.zero[row]),
            "streams": int(self.streams[row]),
            "partitioning": "auto" if whole else "manual",
        }
        return Layout(**(found | fixed))


def divisors(number: int) -> list[int]:
    """In ascending order."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return small + [number // d for d in reversed(small) if d * d != number]


def meshes(chips: int, experts: int = 1) -> Iterator[Mesh]:
    """Every way to write the number of chips as a product over the axes, `expert` up to so many experts."""
    for expert in divisors(math.gcd(chips, experts)):
        for stage in divisors(chips // expert):
            for data in divisors(chips // expert // stage):
                for fsdp in divisors(chips // expert // stage // data):
                    for model in divisors(rest := chips // expert // stage // data // fsdp):
                        sizes = (stage, data, fsdp, expert, model, rest // model)
                        yield dict(zip(AXES, sizes, strict=True))


def cross(
    found: list[Mesh], batch_size: int, towers: int, fixed: Mapping[str, Any], layers: int = 0
) -> Candidates:
    """Each mesh in each way to carry a step out; what `fixed` names has that value only.

    `layers` is what the rounds of a pipeline must divide, 0 where that is looked at later.
    """
    sizes_Nx6 = np.array([list(mesh.values()) for mesh in found], np.int64).reshape(-1, len(AXES))
    ways_Wx6 = np.array(list(_ways(batch_size, towers, fixed, layers)), np.int64).reshape(-1, 6)
    # Meshes with stages and ways with a schedule, and those without: all by all would not fit into memory.
    numbers = np.arange(len(sizes_Nx6))
    pairs = [(numbers[sizes_Nx6[:, 0] > 1], ways_Wx6[ways_Wx6[:, 0] > 0])]
    pairs.append((numbers[sizes_Nx6[:, 0] == 1], ways_Wx6[ways_Wx6[:, 0] == 0]))
    mesh = np.concatenate([np.repeat(meshes, len(ways)) for meshes, ways in pairs])
    way_Nx6 = np.concatenate([np.tile(ways, (len(meshes), 1)) for meshes, ways in pairs])
    every = Candidates(mesh, *sizes_Nx6[mesh].T, *way_Nx6.T)
    sharded = (every.zero == 3) | (every.fsdp > 1)  # without shards there is nothing to gather once
    crossing = (every.streams == 1) | (every.model > 1)  # or to cross without a tensor axis
    return every.take(sharded & crossing)


def _ways(batch_size: int, towers: int, fixed: Mapping[str, Any], layers: int) -> Iterator[tuple[int, ...]]:
    microbatches, repeats = divisors(batch_size), range(1, _MOST_REPEATS + 1)
    remats = REMATS if "remat" in fixed else _SEARCHED_REMATS
    for schedule, count, pieces, remat, zero, streams in itertools.product(
        SCHEDULES, repeats, microbatches, remats, (1, 3), (1, 2)
    ):
        if schedule == "none" and (count > 1 or zero == 1):
            continue
        if schedule != "none" and not towers:  # nothing that stages could share
            continue
        if schedule in ("circular", "1f1b") and count % towers:
            continue
        if layers and layers % (count if schedule in ("none", "gpipe") else count // towers):
            continue
        way = {
            "schedule": schedule, "repeats": count, "microbatches": pieces, "remat": remat, "zero": zero,
            "streams": streams,
        }  # fmt: skip
        if all(fixed.get(name, value) == value for name, value in way.items()):
            yield SCHEDULES.index(schedule), count, pieces, REMATS.index(remat), zero, streams


def check_fixed(fixed: Mapping[str, Any]) -> None:
    """UserError for a name that the search does not choose."""
    known = {*AXES, "schedule", "repeats", "microbatches", "remat", "zero", "streams"}
    for name in fixed:
        if name not in known:
            raise UserError(f"the search chooses no '{name}': it is one of {', '.join(sorted(known))}")
