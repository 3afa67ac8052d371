"""The search: which layouts of a model fit a topology, how long a step of each takes, best first.

After Alpa (arXiv 2201.12023), which searches with profiled stages, this enumerates and predicts; what is
predicted is then compiled by whoever can (`pangu plan --verify`). It knows no workload: it is handed the
model's shape in numbers and its dimensions by logical axis.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import AXES, Layout
from pangu_jax.planner.candidates import Candidates, check_fixed, cross, meshes
from pangu_jax.planner.efficiency import FITS_WITHIN
from pangu_jax.planner.filters import divided, mesh_problem, why_nothing_divides
from pangu_jax.planner.memory_estimate import memory
from pangu_jax.planner.predictions import PlannedModel, Prediction, describe, prediction, search_context
from pangu_jax.planner.time_estimate import Times, times
from tpu_npu_backends import larger_topologies
from tpu_npu_backends.topologies import Topology


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
      ranking: the layouts that fit, fastest first.
      considered: layouts that were looked at: the meshes that divide nothing count once each.
      divided: of them, those that divide model and batch.
      feasible: of those, the ones that fit into memory.
      limit_bytes: what a layout may take of a device.
    """

    ranking: list[Prediction]
    considered: int
    divided: int
    feasible: int
    limit_bytes: float


def search(
    model: PlannedModel, topology: Topology, top: int = 10, fixed: Mapping[str, Any] | None = None
) -> Search:
    """The `top` best layouts of a model on a topology.

    Args:
      model: what is planned for.
      topology: the chips; all of them are used.
      top: how many layouts.
      fixed: fields of Layout with the value they must have.

    Raises:
      UserError: nothing divides, or nothing fits: what it would need, and the nearest topology that does.
    """
    fixed = dict(fixed or {})
    check_fixed(fixed)
    found = _searched(model, topology, fixed)
    if not found.rows.size:
        raise UserError(_fits_nowhere(model, topology, fixed, found))
    ranking = []
    for row in found.rows:
        numbers = {"compute_dtype": model.compute_dtype, "attention": model.attention}
        layout = found.candidates.layout(row, **numbers)
        if not layouts.gathers_by_hand(layout, model.dimensions):
            layout = dataclasses.replace(layout, partitioning="auto")
        if not layouts.check(layout, model.batch_size, model.dimensions):
            ranking.append(found.prediction(row, layout))
        if len(ranking) == top:
            break
    return Search(ranking, found.considered, len(found.candidates), len(found.rows), found.limit)


def best_layout(
    workload: Any,
    batch_size: int,
    topology: Topology,
    optimizer_bytes: float = 8.0,
    compute_dtype: str = "auto",
) -> Layout:
    """The fastest layout that fits, for a workload that has a shape; UserError where there is none."""
    model = describe(workload, batch_size, optimizer_bytes, compute_dtype)
    return search(model, topology, top=1).ranking[0].layout


@dataclass(frozen=True)
class _Found:
    """Candidates that divide, what is predicted for each, and the rows that fit, fastest first."""

    model: PlannedModel
    topology: Topology
    candidates: Candidates
    considered: int
    problems: Counter
    memory: dict[str, np.ndarray]
    times: Times
    limit: float
    rows: np.ndarray

    @property
    def bytes(self) -> np.ndarray:
        return sum(self.memory.values(), np.zeros(len(self.candidates)))

    def prediction(self, row: int, layout: Layout) -> Prediction:
        return prediction(self.model, self.topology, layout, self.memory, self.times, row)


def _searched(model: PlannedModel, topology: Topology, fixed: Mapping[str, Any]) -> _Found:
    experts = [
        model.dimensions[name] for name, axis in layouts.divided_by(model.dimensions) if axis == "expert"
    ]
    found = meshes(topology.device_count, math.gcd(*experts) if experts else 1)
    every = [m for m in found if all(m[axis] == fixed.get(axis, m[axis]) for axis in AXES)]
    problems: Counter = Counter()
    good = []
    for mesh in every:
        if problem := mesh_problem(model, topology, mesh):
            problems[problem] += 1
        else:
            good.append(mesh)
    staged = model.shape.staged
    layers = math.gcd(*(tower.layers for tower in staged))
    candidates = cross(good, model.batch_size, len(staged), fixed, layers)
    considered = len(every) - len(good) + len(candidates)
    candidates = divided(model, candidates, problems)
    context = search_context(model, topology, good)
    items, seconds = memory(context, candidates), times(context, candidates)
    limit = FITS_WITHIN * topology.memory_bytes
    total = sum(items.values(), np.zeros(len(candidates)))
    order = np.lexsort((total, np.round(seconds.step, 9)))
    rows = order[total[order] <= limit]
    return _Found(model, topology, candidates, considered, problems, items, seconds, limit, rows)


def _fits_nowhere(model: PlannedModel, topology: Topology, fixed: Mapping[str, Any], found: _Found) -> str:
    what = f"{model.name} ({billions(model.shape.parameters)} parameters, batch {model.batch_size})"
    given = f" with {', '.join(f'{name} {value}' for name, value in fixed.items())}" if fixed else ""
    if not len(found.candidates):
        why = why_nothing_divides(found.problems)
        return f"no layout{given} divides {what} over {topology.describe()}: {why}"
    needs = found.bytes.min() / 2**30
    part = "" if topology.memory_fraction == 1 else f", JAX's part {topology.memory_fraction:.3g},"
    line = (
        f"no layout{given} of {what} fits {topology.describe()}: the smallest needs {needs:.3g} GiB per "
        f"{topology.chip.unit}, and of {topology.chip.hbm_bytes / 2**30:.3g} GiB{part} "
        f"{found.limit / 2**30:.3g} are to be used"
    )
    for larger in larger_topologies.larger(topology):
        if _searched(model, larger, fixed).rows.size:
            return f"{line}; the nearest that fits is {larger.name} ({larger.chips} chips)"
    return f"{line}; no larger {topology.chip.name} does: make the model or train.batch_size smaller"


def bindings(layout: Layout) -> str:
    """The gin lines of this layout. All of it: a recipe may have bound what is at its default here."""
    return "\n".join(f"Layout.{name} = {value!r}" for name, value in dataclasses.asdict(layout).items())


def billions(parameters: int) -> str:
    """Such as `107B` or `3.64M`."""
    return f"{parameters / 1e9:.3g}B" if parameters >= 1e9 else f"{parameters / 1e6:.3g}M"
