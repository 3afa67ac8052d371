"""From graphs to kernels and a launch plan: what the tool refuses is cut in two until it takes it."""

from dataclasses import dataclass, field, replace

import numpy as np

from tpu_npu_backends.ascend.compiler import bishengir_workarounds, checking, emission, plan, workspace
from tpu_npu_backends.ascend.compiler.emission import Emitted, base_of
from tpu_npu_backends.ascend.compiler.evaluating import KINDS
from tpu_npu_backends.ascend.compiler.graph import Function, Node, Value, unsupported
from tpu_npu_backends.ascend.compiler.kernels import Compiler, Kernel
from tpu_npu_backends.ascend.compiler.partitioning import partition


@dataclass(eq=False)
class Part:
    """Nodes that shall be one kernel, and what came of it."""

    nodes: list[Node]
    emitted: Emitted | None = None
    kernel: Kernel | None = None

    @property
    def on_host(self) -> bool:
        """Whether it is a node that the tool takes no kernel of."""
        refused = self.kernel is not None and not self.kernel.compiled
        return refused or self.nodes[0].kind == "host"


@dataclass(eq=False)
class Assembled:
    """A function's parts in order; loops and branches know those of their bodies by name."""

    function: Function
    parts: list[Part]
    addresses: set[Node] = field(default_factory=set)


_ALONE = ("loop", "branch", "slice_at", "update_at", "host")


def assemble(functions: dict[str, Function], compiler: Compiler) -> dict[str, Assembled]:
    """Partition every function and compile its kernels, all functions' together."""
    assembled = {}
    for name, function in functions.items():
        addresses = _addresses(function)
        parts = [Part(step.nodes) for step in partition(function, addresses)]
        assembled[name] = Assembled(function, parts, addresses)
    waiting = [(each, part) for each in assembled.values() for part in each.parts if _is_kernel(each, part)]
    while waiting:
        emitted: list[tuple[Part, Emitted]] = []
        for each, part in waiting:
            part.emitted = _emit(each.function, part.nodes)
            emitted.append((part, part.emitted))
        texts = [its.text for _, its in emitted]
        nodes_of = {compiler.key(its.text): (part.nodes, its) for part, its in emitted}
        made = compiler.compile(
            texts, lambda kernel, of=nodes_of: _checked(compiler, *of[kernel.key], kernel)
        )
        refused = []
        for (each, part), kernel in zip(waiting, made, strict=True):
            part.kernel = kernel
            if not kernel.compiled:
                refused += [(each, other) for other in _otherwise(each, part)]
        waiting = refused
    return assembled


def _checked(compiler: Compiler, nodes: list[Node], emitted: Emitted, kernel: Kernel) -> Kernel:
    """The kernel, refused where it computes something else than its nodes."""
    if not kernel.instructions or kernel.checked == checking.version():
        return kernel
    verdict = checking.check(nodes, emitted, kernel.instructions)
    kernel = replace(
        kernel,
        checked=checking.version(),
        refusal=verdict.wrong,
        difference=verdict.difference,
        on_chip=verdict.on_chip,
    )
    compiler.keep(kernel)
    return kernel


def _is_kernel(assembled: Assembled, part: Part) -> bool:
    return part.nodes[0].kind not in _ALONE and part.nodes[0] not in assembled.addresses


def _otherwise(assembled: Assembled, part: Part) -> list[Part]:
    """What to try for a part that was refused: its halves, or its only node in another form; or nothing."""
    if len(part.nodes) > 1:
        middle = len(part.nodes) // 2
        others = [Part(part.nodes[:middle]), Part(part.nodes[middle:])]
    else:
        (node,) = part.nodes
        if not (nodes := bishengir_workarounds.alternative(node)):
            return []
        others = [Part(nodes)]
        at = assembled.function.nodes.index(node)
        assembled.function.nodes[at : at + 1] = nodes
    at = assembled.parts.index(part)
    assembled.parts[at : at + 1] = others
    return others


def _emit(function: Function, nodes: list[Node]) -> Emitted:
    if nodes[0].kind == "matmul":
        return emission.emit_matmul(nodes[0])
    return emission.emit(nodes, _needed_outside(function, nodes))


def _needed_outside(function: Function, nodes: list[Node]) -> set[Value]:
    inside = set(map(id, nodes))
    needed = {base_of(result) for result in function.results}
    for node in function.nodes:
        if id(node) not in inside and node.kind != "reshape":
            needed.update(base_of(operand) for operand in node.operands)
    made = {result for node in nodes for result in node.results}
    # Inside a kernel a reshape that moves dimensions reads the buffer: partition keeps those apart.
    return needed & made


def _addresses(function: Function) -> set[Node]:
    """The nodes that work out where slices at a loop's counter begin."""
    found: set[Node] = set()
    for node in function.nodes:
        if node.kind in ("slice_at", "update_at"):
            waiting = node.operands[1 if node.kind == "slice_at" else 2 :]
            while waiting:
                maker = waiting.pop().node
                if maker is not None and maker not in found:
                    found.add(maker)
                    waiting += maker.operands
    return found


class Planner:
    """Writes plans of assembled functions.

    Args:
      assembled: by name.

    Attributes:
      constants: name -> values of the constants that plans hold.
    """

    def __init__(self, assembled: dict[str, Assembled]):
        self._assembled = assembled
        self.constants: dict[str, np.ndarray] = {}

    def write(self, name: str) -> plan.ExecutionPlan:
        """The plan of a function."""
        return _FunctionPlanner(self, self._assembled[name]).write()

    def constant_name(self, values: np.ndarray) -> str:
        """Keep a constant's values."""
        for name, kept in self.constants.items():
            if kept is values:
                return name
        name = f"constant_{len(self.constants)}"
        self.constants[name] = values
        return name


class _FunctionPlanner:
    def __init__(self, planner: Planner, assembled: Assembled):
        self._planner = planner
        self._assembled = assembled
        self._numbers: dict[Value, int] = {}
        self._plan = plan.ExecutionPlan([], [], [], [])

    def write(self) -> plan.ExecutionPlan:
        function = self._assembled.function
        self._plan.arguments = [self._number(argument) for argument in function.arguments]
        for part in self._assembled.parts:
            self._plan.steps.append(self._step(part))
        self._plan.results = [self._number(result) for result in function.results]
        self._plan.result_shapes = [list(result.shape) for result in function.results]
        workspace.assign(self._plan)
        return self._plan

    def _number(self, value: Value) -> int:
        base = base_of(value)
        if base not in self._numbers:
            self._numbers[base] = len(self._plan.buffers)
            self._plan.buffers.append(plan.Buffer(base.shape, base.dtype))
            if base.constant is not None:
                self._plan.constants[self._numbers[base]] = self._planner.constant_name(base.constant)
        return self._numbers[base]

    def _step(self, part: Part) -> plan.Step:
        node = part.nodes[0]
        if node in self._assembled.addresses:
            return self._host(node, address=True)
        if node.kind == "host":
            return self._host(node, name=node.facts["op"])
        kernel, emitted = part.kernel, part.emitted
        if kernel is None or emitted is None:
            return getattr(self, f"_{node.kind}")(node)
        if not kernel.compiled:
            if node.kind not in KINDS:
                raise unsupported(node.kind, node.location, kernel.refusal)
            return self._host(node)
        return plan.Launch(
            kernel.key,
            [self._number(value) for value, _ in emitted.inputs],
            [self._number(value) for value, _ in emitted.outputs],
            [list(tensor.shape) for _, tensor in emitted.inputs],
            [list(tensor.shape) for _, tensor in emitted.outputs],
        )

    def _host(self, node: Node, address: bool = False, name: str | None = None) -> plan.Host:
        facts = {name: fact for name, fact in node.facts.items() if name not in ("flops", "added")}
        return plan.Host(
            name or node.kind,
            facts,
            [self._number(operand) for operand in node.operands],
            [list(operand.shape) for operand in node.operands],
            [self._number(result) for result in node.results],
            address,
        )

    def _slice_at(self, node: Node) -> plan.SliceAt:
        operand, *starts = node.operands
        return plan.SliceAt(
            self._number(operand),
            list(operand.shape),
            [self._number(start) for start in starts],
            node.facts["sizes"],
            self._number(node.results[0]),
        )

    def _update_at(self, node: Node) -> plan.UpdateAt:
        operand, update, *starts = node.operands
        return plan.UpdateAt(
            self._number(operand),
            self._number(update),
            list(update.shape),
            [self._number(start) for start in starts],
            self._number(node.results[0]),
        )

    def _loop(self, node: Node) -> plan.Loop:
        facts = node.facts
        return plan.Loop(
            body=self._planner.write(facts["body"]),
            condition=None if "trips" in facts else self._planner.write(facts["condition"]),
            inputs=[self._number(operand) for operand in node.operands],
            outputs=[self._number(result) for result in node.results],
            trips=facts.get("trips"),
            counter=facts.get("counter"),
            start=facts.get("start", 0),
            step=facts.get("step", 1),
        )

    def _branch(self, node: Node) -> plan.Branch:
        return plan.Branch(
            branches=[self._planner.write(name) for name in node.facts["branches"].split(",")],
            index=self._number(node.operands[0]),
            inputs=[self._number(operand) for operand in node.operands[1:]],
            outputs=[self._number(result) for result in node.results],
        )
