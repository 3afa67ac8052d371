"""Reads optimised HLO text, `compiled.as_text()`, into computations and instructions.

Only what a count needs: shapes, operands, attributes, in printed order, which is the schedule where the
module says `is_scheduled=true`. XLA prints the text (xla/hlo/ir/hlo_instruction.cc); nothing is executed.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

_HEADER = re.compile(r"(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"\s+(?P<root>ROOT )?%?(?P<name>[\w.\-]+) = (?P<rest>.*)", re.DOTALL)
_OPCODE = re.compile(r"\s*(?P<opcode>[\w\-]+)\(")
_LEAF = re.compile(r"\b(pred|token|opaque|[a-z]+\d+\w*)\[([\d,<=]*)\]")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_OP_NAME = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_CYCLES = re.compile(r'"estimated_cycles":"?(\d+)')
_COMPILER_S = re.compile(r'"reification_cost":\[\{[^}]*?"exec_time_us":([\d.eE+\-]+)')
_CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
    r"|\b(?:called_computations|branch_computations)=\{([^}]*)\}"
)
_OPENING, _CLOSING = "([{", ")]}"
_BITS = re.compile(r"\d+")


class HloError(ValueError):
    """Text that is not HLO as this reader knows it: says what is missing."""


@dataclass(frozen=True)
class Array:
    """An array of a shape: dtype as in HLO ("bf16") and dimensions."""

    dtype: str
    dims: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes without padding."""
        width = _BITS.search(self.dtype)
        bits = 8 if self.dtype == "pred" else int(width[0]) if width else 0  # a token, or something opaque
        return math.prod(self.dims) * bits // 8


@dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
      name: without the percent sign.
      shape: text of the result's shape.
      opcode: such as "fusion".
      operands: names of other instructions.
      literal: what is between the parentheses.
      attributes: all that comes after them.
      is_root: whether it is the computation's result.
    """

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    literal: str
    attributes: str
    is_root: bool

    @cached_property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays of the result, a tuple's in order, nested ones flat."""
        return arrays_of(self.shape)

    @cached_property
    def op_name(self) -> str:
        """Where it comes from in the traced program; empty where the compiler made it up."""
        found = _OP_NAME.search(self.attributes)
        return found[1] if found else ""

    @cached_property
    def cycles(self) -> int:
        """The compiler's own `estimated_cycles`; 0 where it gives none."""
        found = _CYCLES.search(self.attributes)
        return int(found[1]) if found else 0

    @cached_property
    def compiler_seconds(self) -> float | None:
        """What the compiler for GPUs says that it takes (`reification_cost`); None where it says nothing."""
        found = _COMPILER_S.search(self.attributes)
        return float(found[1]) * 1e-6 if found else None

    @cached_property
    def called(self) -> tuple[str, ...]:
        """Names of the computations it calls, in printed order."""
        names = []
        for one, several in _CALLED.findall(self.attributes.partition(", metadata=")[0]):
            names += [one] if one else [name.strip().lstrip("%") for name in several.split(",")]
        return tuple(names)

    def attribute(self, name: str) -> str | None:
        """The text of an attribute up to the comma that ends it, brackets balanced; None where absent."""
        start = self.attributes.find(f" {name}=")
        if start < 0:
            return None
        start += len(name) + 2
        depth = 0
        for at in range(start, len(self.attributes)):
            letter = self.attributes[at]
            if letter in _OPENING:
                depth += 1
            elif letter in _CLOSING:
                depth -= 1
            elif letter == "," and depth == 0:
                return self.attributes[start:at]
        return self.attributes[start:]

    def required(self, name: str) -> str:
        """The text of an attribute; HloError where absent."""
        text = self.attribute(name)
        if text is None:
            raise HloError(f"the {self.opcode} {self.name} has no attribute {name}")
        return text


@dataclass(frozen=True)
class Computation:
    """Instructions in printed order."""

    name: str
    instructions: tuple[Instruction, ...]

    @cached_property
    def by_name(self) -> dict[str, Instruction]:
        """Name -> instruction."""
        return {instruction.name: instruction for instruction in self.instructions}

    @cached_property
    def root(self) -> Instruction:
        """The result."""
        return next((i for i in self.instructions if i.is_root), self.instructions[-1])


@dataclass(frozen=True)
class Module:
    """A program: computations by name, and the name of the one that is run."""

    computations: dict[str, Computation]
    entry: str


def arrays_of(shape: str) -> tuple[Array, ...]:
    """The arrays of a shape's text: `(f32[2,3]{1,0}, token[])` -> f32 [2, 3] and a token."""
    return tuple(
        Array(dtype, tuple(int(size.lstrip("<=")) for size in dims.split(",") if size))
        for dtype, dims in _LEAF.findall(shape)
    )


def parse(text: str) -> Module:
    """The module of a text; HloError when it has no entry computation."""
    computations: dict[str, Computation] = {}
    entry, name, lines = "", "", []
    for line in _logical_lines(text):
        if not name:
            header = None if line.startswith((" ", "HloModule")) else _HEADER.match(line)
            if header:
                name, lines = header["name"], []
                entry = name if header["entry"] else entry
        elif line.startswith("}"):
            computations[name] = Computation(name, tuple(lines))
            name = ""
        else:
            instruction = _instruction(line)
            if instruction:
                lines.append(instruction)
    if entry not in computations:
        raise HloError("no ENTRY computation in the text: is it the text of a compiled program?")
    return Module(computations, entry)


def _logical_lines(text: str) -> Iterator[str]:
    """Lines, with instructions that are broken over several joined again. A custom call's metadata may hold
    a line that starts with a brace, so an instruction ends where its brackets do, strings left out."""
    pending = ""
    for line in text.splitlines():
        pending = f"{pending}\n{line}" if pending else line
        starts = pending.startswith(" ") and " = " in pending
        if starts and not _balanced(pending):
            continue
        yield pending
        pending = ""
    if pending:
        yield pending


def _balanced(line: str) -> bool:
    if line.count("{") == line.count("}") and line.count("(") == line.count(")"):
        return True
    bare = _QUOTED.sub("", line)
    return bare.count("{") == bare.count("}") and bare.count("(") == bare.count(")") and '"' not in bare


def _instruction(line: str) -> Instruction | None:
    match = _INSTRUCTION.match(line)
    if not match:
        return None
    rest = match["rest"]
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    opcode = _OPCODE.match(rest, end)
    if not opcode:
        return None
    close = _closing(rest, opcode.end() - 1)
    literal = rest[opcode.end() : close]
    operands = tuple(re.findall(r"%([\w.\-]+)", literal)) if opcode["opcode"] != "constant" else ()
    return Instruction(
        match["name"], rest[:end], opcode["opcode"], operands, literal, rest[close + 1 :], bool(match["root"])
    )


def _closing(text: str, start: int) -> int:
    """Index of the parenthesis that closes the one at `start`."""
    depth = 0
    for found in re.finditer(r"[()]", text[start:]):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return start + found.start()
    raise HloError(f"a parenthesis is never closed: {text[:80]}")
