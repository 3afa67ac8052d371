"""Layouts to use a model that writes: what it holds of each chip, and how long a step of its texts takes.

A step writes a token of each text: it reads the weights and the cache once, so bytes over bandwidth say how
long it takes, and to that come collectives, hidden by nothing. Memory is item by item, as arrays are stored.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pangu_jax.errors import UserError
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel import rules
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import RINGS
from pangu_jax.planner.axis_costs import axis_costs
from pangu_jax.planner.candidates import meshes
from pangu_jax.planner.efficiency import FITS_WITHIN, efficiency
from pangu_jax.planner.planner import billions
from pangu_jax.planner.predictions import bytes_of_a_number
from pangu_jax.workloads.shape import DecodingShape, HeldArray
from tpu_npu_backends import larger_topologies
from tpu_npu_backends.topologies import Topology

CHOSEN = ("data", "fsdp", "expert", "model")  # using a model knows no stages and no parts of sequences
ADVICE = "write fewer or shorter texts (--batch, --length)"


class WritingModel(NamedTuple):
    """What is planned for.

    Attributes:
      name: for messages.
      shape: the model that writes, in numbers.
      dimensions: sizes by logical axis, that a layout must divide.
      compute_dtype: as in a layout.
    """

    name: str
    shape: DecodingShape
    dimensions: Mapping[str, int]
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"


@dataclass(frozen=True)
class WritingPrediction:
    """A layout, and what is expected of it.

    Attributes:
      layout: complete.
      memory: item -> bytes per chip, while texts are written.
      start_bytes: per chip, when weights are brought from the form of a checkpoint into that of steps.
      step_s: seconds of a step, which writes a token of each text.
      reading_s: of them, for what is read of weights and cache, or products where these take longer.
      collectives: mesh axis -> seconds; axes of size 1 are left out.
      tokens_per_s: of all texts together.
    """

    layout: Layout
    memory: dict[str, float]
    start_bytes: float
    step_s: float
    reading_s: float
    collectives: dict[str, float]
    tokens_per_s: float

    @property
    def bytes_per_device(self) -> float:
        """All items of memory together."""
        return sum(self.memory.values())

    @property
    def most_bytes(self) -> float:
        """The most that a chip holds at any time."""
        return max(self.bytes_per_device, self.start_bytes)


@dataclass(frozen=True)
class WritingSearch:
    """What a search found; as `planner.Search`."""

    ranking: list[WritingPrediction]
    considered: int
    divided: int
    feasible: int
    limit_bytes: float


def search(
    model: WritingModel, topology: Topology, top: int = 10, fixed: Mapping[str, Any] | None = None
) -> WritingSearch:
    """The `top` best layouts of a model that writes on a topology, all chips of which are used.

    Raises:
      UserError: nothing divides, or nothing fits: what it would need, and the fewest chips that do.
    """
    fixed = dict(fixed or {})
    for name in fixed:
        if name not in CHOSEN:
            raise UserError(f"--fix {name}: layouts to generate have no other axes than {', '.join(CHOSEN)}")
    found, considered, problems = _predicted(model, topology, fixed)
    limit = FITS_WITHIN * topology.memory_bytes
    fits = [prediction for prediction in found if prediction.most_bytes <= limit]
    if not fits:
        raise UserError(_fits_nowhere(model, topology, fixed, found, problems))
    fits.sort(key=lambda prediction: (round(prediction.step_s, 9), prediction.bytes_per_device))
    return WritingSearch(fits[:top], considered, len(found), len(fits), limit)


def predict(model: WritingModel, topology: Topology, layout: Layout) -> WritingPrediction:
    """What is expected of one layout, whether it fits or not; UserError where it does not divide."""
    layout = layout.on(topology.device_count)
    if problems := layouts.check(layout, model.shape.texts, model.dimensions):
        raise UserError("; ".join(f"{name}: {what}" for name, what in problems))
    return _Sizes(model, topology, layout).prediction()


def _predicted(
    model: WritingModel, topology: Topology, fixed: Mapping[str, Any]
) -> tuple[list[WritingPrediction], int, Counter]:
    found, considered, problems = [], 0, Counter()
    for sizes in meshes(topology.device_count, model.dimensions.get("expert", 1)):
        if sizes["stage"] > 1 or sizes["sequence"] > 1:
            continue
        if any(sizes[name] != value for name, value in fixed.items()):
            continue
        considered += 1
        settings: dict[str, Any] = {axis: sizes[axis] for axis in CHOSEN}
        layout = Layout(**settings, compute_dtype=model.compute_dtype)
        wrong = layouts.check(layout, model.shape.texts, model.dimensions)
        if wrong:
            problems[_why(wrong)] += 1
        else:
            found.append(_Sizes(model, topology, layout).prediction())
    return found, considered, problems


class _Sizes:
    """A model on a layout: bytes per chip and seconds of a step."""

    def __init__(self, model: WritingModel, topology: Topology, layout: Layout):
        self.shape, self.topology, self.layout = model.shape, topology, layout
        self.sizes = layout.axis_sizes()
        self.width = bytes_of_a_number(topology, layout.compute_dtype)
        self.texts = self.shape.texts / layout.batch_shards

    def prediction(self) -> WritingPrediction:
        shape, chip = self.shape, self.topology.chip
        reading = self.read_bytes() / chip.hbm_bytes_per_s
        reached = chip.peak_flops * efficiency(chip).matmul
        reading = max(reading, self.flops() / reached)
        collectives = self.collectives()
        step = reading + sum(collectives.values())
        memory = self.memory()
        start = 2 * memory["weights"] + memory.get("encoder", 0.0)
        return WritingPrediction(self.layout, memory, start, step, reading, collectives, shape.texts / step)

    def memory(self) -> dict[str, float]:
        """Bytes per chip of a step, item by item."""
        shape, a = self.shape, self.width
        working = self.texts * (2 * 4 * shape.vocabulary)  # logits of all words, where one is chosen
        # Scores of a layer in fp32 and as the product takes them, and its share of the mask.
        working += self.texts * shape.heads / self.layout.model * shape.tokens * (4 + a)
        items = {
            "weights": self.held(shape.weights),
            "encoder": self.held(shape.beside),
            "cache": self.held(shape.cache, activation=True),
            "gathered": self.gathered(),
            "working": working,
        }
        return {name: size for name, size in items.items() if size}

    def held(self, arrays: Iterable[HeldArray], *, activation: bool = False) -> float:
        """Bytes of a chip."""
        spec = rules.activation_spec if activation else rules.storage_spec
        return sum(self.bytes(array) / self.parts(spec(array.axes)) for array in arrays)

    def used(self, array: HeldArray) -> float:
        """Bytes of a weight as it is multiplied, whole along `fsdp`."""
        return self.bytes(array) / self.parts(rules.compute_spec(array.axes))

    def bytes(self, array: HeldArray) -> float:
        return array.numbers * (array.bytes_each or self.width)

    def parts(self, spec: Any) -> int:
        axes = {"fsdp" if axis in RINGS else axis for axis in rules.axes_of(spec)}
        return math.prod(self.sizes[axis] for axis in axes)

    def gathered(self) -> float:
        """Weights whole along `fsdp`: two at a time, one in use and one on its way."""
        if self.layout.fsdp == 1:
            return 0.0
        return 2 * max(self.used(array) for array in self.shape.weights)

    def rows(self) -> float:
        """Tokens that come to the experts of a chip, from all places along `expert`."""
        return self.texts * self.layout.expert

    def read_bytes(self) -> float:
        """What a step reads; of experts the expected share that some token visits."""
        read = 0.0
        for array in self.shape.weights:
            visited = 1 - (1 - array.chosen) ** self.rows() if array.chosen < 1 else 1.0
            read += self.used(array) * array.read * visited
        return read + self.held(self.shape.cache, activation=True)

    def flops(self) -> float:
        """Of the products of a step."""
        each = (array.read * array.chosen * self.used(array) for array in self.shape.weights)
        weighed = sum(each) / self.width
        held = self.held(self.shape.cache, activation=True) / self.width
        return 2 * (self.texts * weighed + held * self.shape.heads / self.layout.model)

    def collectives(self) -> dict[str, float]:
        """Seconds by mesh axis."""
        shape, costs = self.shape, axis_costs(self.topology, self.sizes)
        stream = self.texts * shape.width * self.width
        crossings = 2 * (shape.crossings + 1)  # a sum is a scatter and a gather; the table is one
        logits = 4 * self.texts * shape.vocabulary
        gathered = [self.used(array) for array in shape.weights if "embed" in array.axes]
        found = {
            "model": (crossings * stream + logits, crossings + 1),
            "fsdp": (sum(gathered), len(gathered)),
            "expert": (2 * shape.routed * stream * self.layout.expert, 2 * shape.routed),
        }
        return {
            axis: number * costs[axis].latency_s + size * costs[axis].seconds_per_byte
            for axis, (size, number) in found.items()
            if self.sizes[axis] > 1
        }


def _fits_nowhere(
    model: WritingModel,
    topology: Topology,
    fixed: Mapping[str, Any],
    found: list[WritingPrediction],
    problems: Counter,
) -> str:
    shape = model.shape
    texts = f"{shape.texts} texts of {shape.tokens} tokens"
    what = f"{model.name} ({billions(shape.parameters)} parameters, {texts})"
    given = f" with {', '.join(f'{name} {value}' for name, value in fixed.items())}" if fixed else ""
    if not found:
        why = problems.most_common(1)[0][0] if problems else "no mesh of that many chips has these sizes"
        return f"no layout{given} divides {what} over {topology.describe()}: {why}"
    limit = FITS_WITHIN * topology.memory_bytes
    needs = min(prediction.most_bytes for prediction in found)
    line = (
        f"no layout{given} of {what} fits {topology.describe()}: the smallest needs {needs / 2**30:.3g} GiB "
        f"per {topology.chip.unit}, and of {topology.chip.hbm_bytes / 2**30:.3g} GiB {limit / 2**30:.3g} are "
        "to be used"
    )
    for more in larger_topologies.larger(topology):
        if any(p.most_bytes <= limit for p in _predicted(model, more, fixed)[0]):
            return f"{line}; the nearest that fits is {more.name} ({more.chips} chips)"
    return f"{line}; no larger {topology.chip.name} does: {ADVICE}"


def _why(wrong: list[tuple[str, str]]) -> str:
    """What is in the way, where there is one with what would do."""
    said = [what.replace("batch_size", "--batch") for _, what in wrong]
    return next((what for what in said if what.endswith("would do")), said[0])
