"""The launch plan: what a host does to run a program, as data that JSON holds.

Buffers are numbered. A step reads and writes whole buffers; a kernel sees each in the shape that its
signature says.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Buffer:
    """Memory on the device.

    Attributes:
      shape: of what it holds.
      dtype: MLIR's name of its element type.
      offset: bytes from the start of the workspace; None for arguments, results and constants.
    """

    shape: tuple[int, ...]
    dtype: str
    offset: int | None = None


@dataclass
class Launch:
    """A kernel runs.

    Attributes:
      kernel: its key.
      inputs: buffers that it reads, in the order of its arguments.
      outputs: buffers that it writes, after those.
      input_shapes: how it sees each.
      output_shapes: the same.
    """

    kernel: str
    inputs: list[int]
    outputs: list[int]
    input_shapes: list[list[int]]
    output_shapes: list[list[int]]


@dataclass
class Host:
    """What NumPy does on the host; `address` where it is only the arithmetic of slices' addresses."""

    op: str
    facts: dict[str, Any]
    inputs: list[int]
    input_shapes: list[list[int]]
    outputs: list[int]
    address: bool = False


@dataclass
class SliceAt:
    """A copy from device to device out of a buffer, from where the host knows to."""

    input: int
    input_shape: list[int]
    starts: list[int]
    sizes: list[int]
    output: int


@dataclass
class UpdateAt:
    """A copy of a buffer, with a part of it exchanged, at a place that the host knows."""

    input: int
    update: int
    update_shape: list[int]
    starts: list[int]
    output: int


@dataclass
class Loop:
    """A body that runs again on what it returned.

    Attributes:
      body: takes carried and captured values, returns carried ones.
      condition: takes the same, returns whether another trip is due; None where the trips are known.
      inputs: first values of what is carried, then what is captured.
      outputs: last values of what is carried.
      trips: how often it runs; None where the condition says.
      counter: number of the carried value that counts, which the host sets; None without one.
      start: its first value.
      step: what is added each trip.
    """

    body: "ExecutionPlan"
    condition: "ExecutionPlan | None"
    inputs: list[int]
    outputs: list[int]
    trips: int | None = None
    counter: int | None = None
    start: int = 0
    step: int = 1


@dataclass
class Branch:
    """One of several plans, by an integer that the host reads; an index outside means the last."""

    branches: "list[ExecutionPlan]"
    index: int
    inputs: list[int]
    outputs: list[int]


Step = Launch | Host | SliceAt | UpdateAt | Loop | Branch
_KINDS = {kind.__name__: kind for kind in (Launch, Host, SliceAt, UpdateAt, Loop, Branch)}


@dataclass
class ExecutionPlan:
    """Steps in the order in which they run.

    Attributes:
      buffers: by number.
      arguments: buffers that a caller fills.
      results: buffers that a caller reads, with the shape it reads.
      result_shapes: those shapes.
      result_dtypes: their types, by NumPy's name: buffers do not distinguish unsigned integers from signed
        ones.
      constants: buffer -> name of its values.
      steps: what is done.
      workspace_bytes: memory for buffers that are neither arguments, results nor constants.
    """

    buffers: list[Buffer]
    arguments: list[int]
    results: list[int]
    result_shapes: list[list[int]]
    constants: dict[int, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    workspace_bytes: int = 0
    result_dtypes: list[str] = field(default_factory=list)

    def walk(self, times: int = 1) -> Iterator[tuple[Step, int, "ExecutionPlan"]]:
        """Every step, how often it runs (a loop of unknown length counts once), and the plan it is in."""
        for step in self.steps:
            yield step, times, self
            if isinstance(step, Loop):
                yield from step.body.walk(times * (1 if step.trips is None else step.trips))
                if step.condition is not None:
                    yield from step.condition.walk(times)
            elif isinstance(step, Branch):
                for branch in step.branches:
                    yield from branch.walk(times)

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "buffers": [asdict(buffer) for buffer in self.buffers],
            "arguments": self.arguments,
            "results": self.results,
            "result_shapes": self.result_shapes,
            "result_dtypes": self.result_dtypes,
            "constants": {str(number): name for number, name in self.constants.items()},
            "steps": [_step_to_json(step) for step in self.steps],
            "workspace_bytes": self.workspace_bytes,
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> "ExecutionPlan":
        """What `to_json` wrote."""
        return ExecutionPlan(
            buffers=[Buffer(tuple(b["shape"]), b["dtype"], b["offset"]) for b in value["buffers"]],
            arguments=value["arguments"],
            results=value["results"],
            result_shapes=value["result_shapes"],
            result_dtypes=value["result_dtypes"],
            constants={int(number): name for number, name in value["constants"].items()},
            steps=[_step_from_json(step) for step in value["steps"]],
            workspace_bytes=value["workspace_bytes"],
        )


def _step_to_json(step: Step) -> dict[str, Any]:
    fields = {name: _to_json(getattr(step, name)) for name in step.__dataclass_fields__}
    return {"do": type(step).__name__, **fields}


def _to_json(value: Any) -> Any:
    if isinstance(value, ExecutionPlan):
        return value.to_json()
    if isinstance(value, list):
        return [_to_json(each) for each in value]
    return value


def _step_from_json(value: dict[str, Any]) -> Step:
    fields = dict(value)
    kind = _KINDS[fields.pop("do")]
    for name in ("body", "condition"):
        if isinstance(fields.get(name), dict):
            fields[name] = ExecutionPlan.from_json(fields[name])
    if "branches" in fields:
        fields["branches"] = [ExecutionPlan.from_json(each) for each in fields["branches"]]
    return kind(**fields)
