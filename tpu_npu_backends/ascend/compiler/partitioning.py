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
    waiting = _broadcasts_for_readers(function)
    for node in function.nodes:
        if node.kind == "reshape" or node in waiting:
            continue
        mine = _own_broadcasts(node, waiting)
        # The tool takes one slice per kernel, and nothing else with it.
        stands_alone = node.kind in CALLS or node.kind == "slice" or node in alone
        space = None if stands_alone else space_of(node)
        number = _place([*mine, node], space, steps, made_by, readers)
        if number is None:
            number = len(steps)
            steps.append(Step([], space))
        for each in (*mine, node):
            steps[number].add(each, space)
            made_by.update((result, number) for result in each.results)
            for base in reads_of(each):
                if space is not None:
                    readers.setdefault(base, []).append(number)
    function.nodes = [node for node in function.nodes if node not in waiting]
    placed = {id(node) for node in function.nodes}
    function.nodes += [node for step in steps for node in step.nodes if id(node) not in placed]
    return steps


def _broadcasts_for_readers(function: Function) -> set[Node]:
    """Broadcasts that only kernels read, at each place: every reader gets its own, and none is stored."""
    waiting = {node for node in function.nodes if node.kind == "broadcast"}
    for result in function.results:
        waiting.discard(base_of(result).node)
    for node in function.nodes:
        if node.kind == "reshape" or node.elementwise:
            continue
        for operand in node.operands:
            waiting.discard(base_of(operand).node)
    for node in function.nodes:
        for operand in node.operands if node.elementwise else ():
            base = base_of(operand)
            if squeezed(base.shape) != squeezed(operand.shape):
                waiting.discard(base.node)
    return waiting


def _own_broadcasts(node: Node, waiting: set[Node]) -> list[Node]:
    """Copies of the waiting broadcasts that a node reads, which it reads from now on."""
    copies: dict[Node, Node] = {}
    for index, operand in enumerate(node.operands):
        original = base_of(operand).node
        if original not in waiting:
            continue
        if original not in copies:
            (result,) = original.results
            copy = Node("broadcast", original.operands, original.facts, location=original.location)
            copy.results = [Value(result.shape, result.dtype, copy)]
            copies[original] = copy
        node.operands[index] = copies[original].results[0]
    return list(copies.values())


def _place(nodes: list[Node], space, steps: Sequence[Step], made_by, readers) -> int | None:
    """The number of a step that nodes can join; None where they need one of their own."""
    if space is None:
        return None
    made = {result for node in nodes for result in node.results}
    reads = {base for node in nodes for base in reads_of(node)} - made
    earliest = 0
    for node in nodes:
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
        if number >= earliest and _fits(nodes[-1], reads, space, steps[number]):
            return number
    return None


def _fits(node: Node, reads: set[Value], space: tuple[int, ...], step: Step) -> bool:
    if step.space is None or len(step.nodes) >= _MOST_NODES:
        return False
    if len(step.reads | (reads - step.makes)) > _MOST_ARGUMENTS:
        return False
    if space == step.space:
        return True
    if not space or not step.space:  # numbers on their own make kernels of their own
        return False
    own = reads <= step.makes
    if _within(space, step.space):  # what a reduction left
        return own
    return own and node.kind == "broadcast" and _within(step.space, space)


def _within(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Whether dropping dimensions of the large shape can give the small one."""
    rest = iter(large)
    return all(any(size == other for other in rest) for size in small)
