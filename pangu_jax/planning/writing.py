"""`pangu plan --for generate`: layouts to use a model that writes, ranked, and the best of them compiled."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import jax

from pangu_jax import text_tables
from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import Layout
from pangu_jax.planner import inference
from pangu_jax.planner.inference import CHOSEN, WritingModel, WritingPrediction, WritingSearch
from pangu_jax.planner.planner import billions
from pangu_jax.planning import compiled_steps, tables
from pangu_jax.planning.verifying import Verified, Verifier, fastest
from pangu_jax.result import Result
from pangu_jax.workloads.shape import DecodingShape
from tpu_npu_backends import topologies
from tpu_npu_backends.topologies import Topology

GIB = 2**30


class Writer(Protocol):
    """A model that writes, as its family hands it over."""

    def dimensions(self) -> Mapping[str, int]:
        """Sizes by logical axis that a layout must divide."""
        ...

    def shape(self) -> DecodingShape:
        """It in numbers, for its texts."""
        ...

    def lower(self, layout: Layout, topology: Topology, devices: Sequence[jax.Device]) -> jax.stages.Lowered:
        """A step on a layout."""
        ...


def plan(
    writer: Writer,
    name: str,
    topology: str,
    *,
    top: int = 10,
    verify: int = 0,
    dump_hlo: str | Path | None = None,
    fixed: Mapping[str, Any] | None = None,
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    memory_fraction: float | None = None,
) -> Result:
    """The `top` best layouts for a model to write with, the first `verify` of them compiled.

    Args:
      writer: the model and its texts.
      name: of the model, for messages.
      topology: its name, such as "v5p:2x2x1" or "h100:1x1".
      top: how many layouts are ranked.
      verify: how many are compiled; 0 needs no compiler.
      dump_hlo: a folder for the optimised HLO text of each compiled program.
      fixed: axes of Layout with the value they must have.
      compute_dtype: of weights and cache, as in a layout.
      memory_fraction: as `layouts.plan` takes it.

    Raises:
      UserError, BackendError: what the caller can fix, in one line.
    """
    chips = topologies.parse(topology, memory_fraction)
    verifier = Verifier(chips, dump_hlo) if verify else None
    chips.check_dtype(compute_dtype)
    model = WritingModel(name, writer.shape(), writer.dimensions(), compute_dtype)
    search = inference.search(model, chips, max(top, verify), fixed)
    verified = []
    if verifier:
        devices = verifier.devices
        verified = verifier.verify(
            search.ranking[:verify],
            lambda layout: compiled_steps.compile_lowered(writer.lower(layout, chips, devices), chips),
        )
    found = WritingPlan(model, chips, search, verified, fastest(search.ranking, verified))
    return Result(found.value, _rendered(found))


@dataclass(frozen=True)
class WritingPlan:
    """What planning found; as `plan.Plan`."""

    model: WritingModel
    topology: Topology
    search: WritingSearch
    verified: list[Verified[WritingPrediction]]
    best: WritingPrediction

    @property
    def value(self) -> dict[str, Any]:
        """For JSON."""
        shape = self.model.shape
        return {
            "for": "generate",
            "topology": self.topology.name,
            "chips": self.topology.chips,
            "devices": self.topology.device_count,
            "analytic_only": self.topology.analytic,
            "parameters": shape.parameters,
            "batch": shape.texts,
            "length": shape.tokens,
            "considered": self.search.considered,
            "divided": self.search.divided,
            "fitting": self.search.feasible,
            "layouts": [_item(prediction) for prediction in self.search.ranking],
            "verified": [_item(found.prediction) | found.value for found in self.verified],
            "bindings": self.bindings,
        }

    @property
    def bindings(self) -> list[str]:
        """Of the best layout, for the verbs that open a run."""
        return [f"Layout.{axis}={getattr(self.best.layout, axis)}" for axis in CHOSEN]


def _item(prediction: WritingPrediction) -> dict[str, Any]:
    return {
        "layout": {axis: asdict(prediction.layout)[axis] for axis in CHOSEN},
        "predicted_bytes_per_device": round(prediction.bytes_per_device),
        "predicted_bytes_at_start": round(prediction.start_bytes),
        "predicted_step_s": prediction.step_s,
        "predicted_tokens_per_s": prediction.tokens_per_s,
        "memory": {name: round(size) for name, size in prediction.memory.items()},
        "collectives_s": prediction.collectives,
    }


def _rendered(plan: WritingPlan) -> str:
    search, shape = plan.search, plan.model.shape
    parts = [
        f"{billions(shape.parameters)} parameters, {shape.texts} texts of {shape.tokens} tokens on "
        f"{plan.topology.describe()}: {search.considered} layouts looked at, {search.divided} divide, "
        f"{search.feasible} fit into {search.limit_bytes / GIB:.1f} GiB",
        _ranking(search.ranking),
    ]
    if plan.verified:
        parts.append(tables.compared(plan.verified))
    items = ", ".join(f"{name} {size / GIB:.3g}" for name, size in plan.best.memory.items())
    parts.append(f"memory of the best, predicted, GiB per {plan.topology.chip.unit}: {items}")
    flags = " ".join(f"--gin.{binding}" for binding in plan.bindings)
    parts.append(f"# for pangu generate, chat and eval\n{flags}")
    return "\n".join(parts)


def _ranking(ranking: Sequence[WritingPrediction]) -> str:
    headings = ("", "layout", "GiB", "at start", "ms a step", "tokens/s", "collectives ms")
    rows = []
    for number, found in enumerate(ranking, start=1):
        collectives = (f"{axis} {1e3 * seconds:.3g}" for axis, seconds in found.collectives.items())
        rows.append(
            [
                str(number),
                found.layout.describe(),
                f"{found.bytes_per_device / GIB:.3g}",
                f"{found.start_bytes / GIB:.3g}",
                f"{1e3 * found.step_s:.4g}",
                f"{found.tokens_per_s:,.0f}",
                " ".join(collectives),
            ]
        )
    return text_tables.render(headings, rows)


def require_sizes(texts: int, tokens: int) -> None:
    """UserError where nothing would be written."""
    if texts < 1 or tokens < 2:
        raise UserError(f"--batch {texts} --length {tokens}: at least 1 text of 2 tokens")
