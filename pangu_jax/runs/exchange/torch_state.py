"""The description of tensors in a file of torch.save, read without Python's pickle.

Such a description is a program for pickle, which may call anything. Here its opcodes are read as data: a
stack of plain values, and two calls that are known by name and made by nobody, but noted. Any other name is
refused before anything is done with it.
"""

import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

LARGEST = 64 << 20  # bytes of a description: a tensor takes about 300
NOTED = {
    "collections OrderedDict": "dict",
    "torch._utils _rebuild_tensor_v2": "tensor",
    "torch._utils _rebuild_parameter": "parameter",
}
DTYPES = {"FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16"}


class ForeignState(Exception):
    """The description holds more than tensors by name; the message says what."""


class StoredArray(NamedTuple):
    """Numbers in a file of their own: its key, their dtype ("F32", or torch's name) and how many."""

    key: str
    dtype: str
    count: int


class StoredTensor(NamedTuple):
    """A tensor: where it begins in an array, its shape and its strides, in numbers."""

    array: StoredArray
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Name(NamedTuple):
    """What the description calls by module and name."""

    text: str


_MARK = object()


def read(description: bytes, inside: str | None = None) -> dict[str, StoredTensor]:
    """Tensors by name, none of them read.

    Args:
      description: of the file.
      inside: an entry that may hold them instead, as a dict; what is beside it is passed over.
    Raises:
      ForeignState: it holds anything else.
    """
    if len(description) > LARGEST:
        raise ForeignState(f"its description takes {len(description):,} bytes")
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(description):
            machine.step(opcode.name, argument)
        found = machine.stack.pop()
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ForeignState(f"its description is damaged ({str(error)[:60]})") from None
    if not isinstance(found, dict):
        raise ForeignState("it holds no tensors by name")
    if inside is not None and isinstance(found.get(inside), dict):
        found = found[inside]
    for name, value in found.items():
        if not isinstance(value, StoredTensor):
            raise ForeignState(f"{str(name)[:60]} is no tensor")
    return found


class _Machine:
    """The opcodes that torch writes, on a stack of data."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """One opcode; ForeignState where torch's save writes none such."""
        if opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self.stack[-1]
        elif opcode == "MEMOIZE":
            self._memo[len(self._memo)] = self.stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            self.stack.append(self._memo[argument])
        elif opcode == "MARK":
            self.stack.append(_MARK)
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            if opcode not in _STEPS:
                raise ForeignState(f"it holds pickle's {opcode}")
            _STEPS[opcode](self, argument)

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        known = argument in NOTED or (module == "torch" and name.endswith("Storage") and name.isidentifier())
        if not known:
            raise ForeignState(f"it calls {argument[:60]}")
        self.stack.append(_Name(argument))

    def _stack_global(self, argument: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._global(f"{module} {name}")

    def _tuple(self, argument: None) -> None:
        self.stack.append(tuple(self._to_mark()))

    def _tuple_of(self, count: int) -> None:
        taken = [self.stack.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(taken)))

    def _to_mark(self) -> list[Any]:
        taken = []
        while (value := self.stack.pop()) is not _MARK:
            taken.append(value)
        return taken[::-1]

    def _setitem(self, argument: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._put([key, value])

    def _setitems(self, argument: None) -> None:
        self._put(self._to_mark())

    def _put(self, pairs: list[Any]) -> None:
        into = self.stack[-1]
        if not isinstance(into, dict) or len(pairs) % 2:
            raise ForeignState("it fills something that is no dict")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str):
                raise ForeignState("it holds something under a key that is no text")
            into[key] = value

    def _build(self, argument: None) -> None:
        self.stack.pop()  # attributes that torch hangs on its dict, of versions of modules
        if not isinstance(self.stack[-1], dict):
            raise ForeignState("it sets attributes of something that is no dict")

    def _binpersid(self, argument: None) -> None:
        match self.stack.pop():
            case ("storage", _Name(text=kind), str(key), str(), int(count)) if kind.startswith("torch "):
                storage = kind.removeprefix("torch ")
                self.stack.append(StoredArray(key, DTYPES.get(storage, storage), count))
            case _:
                raise ForeignState("it refers to something that is no array of torch")

    def _reduce(self, argument: None) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        kind = NOTED.get(called.text) if isinstance(called, _Name) else None
        match kind, arguments:
            case "dict", ():
                self.stack.append({})
            case "tensor", (StoredArray() as array, int(offset), tuple(shape), tuple(strides), *_):
                if len(shape) != len(strides) or not all(type(n) is int for n in (*shape, *strides)):
                    raise ForeignState("a tensor has no shape")
                self.stack.append(StoredTensor(array, offset, shape, strides))
            case "parameter", (StoredTensor() as tensor, *_):
                self.stack.append(tensor)
            case _:
                raise ForeignState("it calls something with what torch does not give it")


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,  # never filled: APPEND is not among what is read
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}
_LITERALS = {"BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"}
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "TUPLE": _Machine._tuple,
    "TUPLE1": lambda machine, _: machine._tuple_of(1),
    "TUPLE2": lambda machine, _: machine._tuple_of(2),
    "TUPLE3": lambda machine, _: machine._tuple_of(3),
    "SETITEM": _Machine._setitem,
    "SETITEMS": _Machine._setitems,
    "BUILD": _Machine._build,
    "BINPERSID": _Machine._binpersid,
    "REDUCE": _Machine._reduce,
}
