"""Which nodes make a kernel together.

Steps are kept in the order in which they will run. A node may join any step that is not before what it reads,
so no cycle can arise. It joins a kernel of the same iteration space that has something in common with it, or
what a reduction of that kernel leaves. Products, loops and branches stand alone.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from tpu_npu_backends.ascend.compiler.emission import base_of, squeezed
from tpu_npu_backends.ascend.compiler.graph import CALLS, Function, Node, Value

_MOST_NODES = 48
_MOST_ARGUMENTS = 24  # distinct buffers that a kernel reads

# What moves data between places reads buffers: nothing that is made in the same kernel.
_READS_BUFFERS = ("concatenate", "pad", "insert", "slice", "transpose")


@dataclass(eq=False)
class Step:
    """Nodes that run together.

    Attributes:
      nodes: in order.
      space: the iteration space of a vector kernel; None for what stands alone.
    """

    nodes: list[Node]
    space: tuple[int, ...] | None
    reads: set[Value] = field(default_factory=set)
    makes: set[Value] = field(default_factory=set)

    def add(self, node: Node, space: tuple[int, ...] | None) -> None:
        """Take a node in."""
        self.nodes.append(node)
        self.makes.update(node.results)
        self.reads.update(reads_of(node) - self.makes)
        if self.space is not None and space is not None and math.prod(space) > math.prod(self.space):
            self.space = space


def reads_of(node: Node) -> set[Value]:
    """The buffers that a node reads; constants of one number are none."""
    bases = (base_of(operand) for operand in node.operands)
    return {base for base in bases if base.constant is None or base.constant.ndim}


def space_of(node: Node) -> tuple[int, ...]:
    """The shape that a node loops over."""
    if node.kind == "reduce":
        return squeezed(node.operands[0].shape)
    return squeezed(node.results[0].shape)


def partition(function: Function, alone: Collection[Node] = ()) -> list[Step]:
    """The steps of a function, in order; some nodes stand alone."""
    steps: list[Step] = []
    made_by: dict[Value, int] = {}  # buffer -> number of the step that makes it
    readers: dict[Value, list[int]] = {}  # buffer -> numbers of the vector kernels that read it
    for node in function.nodes:
        if node.kind == "reshape":
            continue
        space = None if node.kind in CALLS or node in alone else space_of(node)
        number = _place(node, space, steps, made_by, readers)
        if number is None:
            number = len(steps)
            steps.append(Step([], space))
        steps[number].add(node, space)
        made_by.update((result, number) for result in node.results)
        for base in reads_of(node):
            if space is not None:
                readers.setdefault(base, []).append(number)
    return steps


def _place(node, space, steps: Sequence[Step], made_by, readers) -> int | None:
    """The number of a step that a node can join; None where it needs one of its own."""
    if space is None:
        return None
    reads = reads_of(node)
    earliest = 0
    for operand in node.operands:
        maker = made_by.get(base_of(operand))
        if maker is not None:
            inside = (
                steps[maker].space is not None
                and squeezed(operand.shape) == squeezed(base_of(operand).shape)
                and node.kind not in _READS_BUFFERS
            )
            earliest = max(earliest, maker if inside else maker + 1)
    related = {made_by[base] for base in reads if base in made_by}
    related.update(number for base in reads for number in readers.get(base, ()))
    for number in sorted(related, reverse=True):
        if number >= earliest and _fits(node, space, steps[number]):
            return number
    return None


def _fits(node: Node, space: tuple[int, ...], step: Step) -> bool:
    if step.space is None or len(step.nodes) >= _MOST_NODES or node.kind == "slice":
        return False  # the tool takes one slice a kernel
    if len(step.reads | (reads_of(node) - step.makes)) > _MOST_ARGUMENTS:
        return False
    if space == step.space:
        return True
    if not space or not step.space:  # numbers on their own make kernels of their own
        return False
    own = reads_of(node) <= step.makes
    if _within(space, step.space):  # what a reduction left
        return own
    return own and node.kind == "broadcast" and _within(step.space, space)


def _within(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Whether dropping dimensions of the large shape can give the small one."""
    rest = iter(large)
    return all(any(size == other for other in rest) for size in small)
