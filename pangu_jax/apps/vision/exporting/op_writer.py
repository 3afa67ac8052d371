"""A plain program written in the operations of another format: the walk, and what formats have in common.

A format has a method for each JAX operation that it knows, `_add` for `add`; one that it has no method for is
refused by name, with its place in the model. Broadcasting is left to the format's own operations, which align
shapes as NumPy does: `broadcast_in_dim` only puts dimensions of 1 where they belong, and what needs the whole
array asks for it (`whole`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal

from pangu_jax.apps.vision.exporting import gelu_pattern
from pangu_jax.apps.vision.exporting.plain_program import layer_of, number, shape_of
from pangu_jax.errors import UserError

Shape = tuple[Any, ...]  # int, or what only a caller knows


class WrittenValue(NamedTuple):
    """A value of the program in the format.

    Attributes:
      handle: the format's own: a name, a tensor.
      shape: as it is now, with 1 where the program broadcasts it.
      meant: as the program has it.
    """

    handle: Any
    shape: Shape
    meant: Shape


class OpWriter:
    """Walks a program; a subclass knows a format's operations.

    Attributes:
      format: its name, for messages.
    """

    format = ""
    _argument: WrittenValue  # the pictures

    def write(self, closed: ClosedJaxpr, args: Sequence[Any]) -> list[WrittenValue]:
        """The results of a traced plain program, whole.

        Args:
          closed: of `jax.make_jaxpr`.
          args: handles of the arguments.

        Raises:
          UserError: it has an operation that the format lacks.
        """
        jaxpr = closed.jaxpr
        values: dict[Any, WrittenValue] = {}
        for variable, constant in zip(jaxpr.constvars, closed.consts, strict=True):
            values[variable] = self._constant(np.asarray(constant))
        for variable, handle in zip(jaxpr.invars, args, strict=True):
            values[variable] = WrittenValue(handle, shape_of(variable), shape_of(variable))
        self._argument = values[jaxpr.invars[0]]

        def read(variable: Any) -> WrittenValue:
            known = isinstance(variable, Literal)
            return self._constant(number(variable)) if known else values[variable]

        for equation, of_gelu in gelu_pattern.steps(jaxpr):
            if of_gelu is not None:
                x = read(of_gelu)
                values[equation.outvars[0]] = x._replace(handle=self._gelu(x))
                continue
            made = self._written(equation, [read(variable) for variable in equation.invars])
            parts = made if isinstance(made, list) else [made]
            for variable, part in zip(equation.outvars, parts, strict=True):
                shape = shape_of(variable)
                values[variable] = (
                    part if isinstance(part, WrittenValue) else WrittenValue(part, shape, shape)
                )
        return [self.whole(read(variable)) for variable in jaxpr.outvars]

    def _written(self, equation: JaxprEqn, args: list[WrittenValue]) -> Any:
        name = equation.primitive.name
        method = getattr(self, f"_{name}", None)
        if method is None:
            raise UserError(
                f"--format {self.format} has no operation {name!r}, which the model needs in "
                f"{layer_of(equation)}: export it as stablehlo"
            )
        if name in ELEMENTWISE:
            shape = np.broadcast_shapes(*(tuple(map(_stand_in, arg.shape)) for arg in args))
            return WrittenValue(
                method(equation, *args), tuple(map(_as_meant, shape, _shape(equation))), _shape(equation)
            )
        return method(equation, *args)

    def whole(self, value: WrittenValue) -> WrittenValue:
        """A value with the shape that the program means."""
        if value.shape == value.meant:
            return value
        free = {size for size in value.meant if not isinstance(size, int)}
        if free - {self._argument.meant[0]}:
            raise UserError(
                f"--format {self.format} cannot repeat an array {free} times: export it as stablehlo"
            )
        sizes = [size if isinstance(size, int) else None for size in value.meant]
        return WrittenValue(self._expanded(value.handle, sizes), value.meant, value.meant)

    def reshaped(self, value: WrittenValue, shape: Shape) -> WrittenValue:
        """Another shape of as many elements."""
        if value.shape == shape:
            return value
        return WrittenValue(self._reshaped(value.handle, fixed(shape, self.format)), shape, shape)

    def _broadcast_in_dim(
        self, equation: JaxprEqn, value: WrittenValue, *sizes: WrittenValue
    ) -> WrittenValue:
        del sizes
        meant, places = _shape(equation), equation.params["broadcast_dimensions"]
        shape: list[Any] = [1] * len(meant)
        for size, place in zip(value.shape, places, strict=True):
            shape[place] = size
        made = self.reshaped(value._replace(meant=value.shape), tuple(shape))
        return WrittenValue(made.handle, tuple(shape), meant)

    def _reshape(self, equation: JaxprEqn, value: WrittenValue, *sizes: WrittenValue) -> WrittenValue:
        del sizes
        return self.reshaped(self.whole(value), _shape(equation))

    _squeeze = _reshape
    _expand_dims = _reshape

    def _gelu(self, x: WrittenValue) -> Any:
        """By the error function."""
        raise NotImplementedError

    def _constant(self, array: np.ndarray) -> WrittenValue:
        raise NotImplementedError

    def _reshaped(self, handle: Any, shape: list[int]) -> Any:
        raise NotImplementedError

    def _expanded(self, handle: Any, sizes: list[int | None]) -> Any:
        """Repeated along dimensions of 1; None is as many as there are pictures."""
        raise NotImplementedError


# Of whose arguments a dimension of 1 is as good as one that is written out.
ELEMENTWISE = frozenset(
    {
        *("add", "sub", "mul", "div", "neg", "exp", "log", "tanh", "sqrt", "rsqrt", "square", "erf", "erfc"),
        *("max", "min", "select_n", "integer_pow", "logistic", "abs", "sign", "floor"),
        "convert_element_type",
    }
)
FREE = 2**30  # stands for a size that only a caller knows


def fixed(shape: Shape, format: str) -> list[int]:
    """A shape with -1 for the one size that only a caller knows.

    Raises:
      UserError: there are more.
    """
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    if sizes.count(-1) > 1:
        raise UserError(f"--format {format}: {shape} has more than one free size: export it as stablehlo")
    return sizes


def _shape(equation: JaxprEqn) -> Shape:
    return shape_of(equation.outvars[0])


def _stand_in(size: Any) -> int:
    """For NumPy's rules: a size that is not known is the same wherever it stands."""
    return size if isinstance(size, int) else FREE


def _as_meant(size: int, meant: Any) -> Any:
    return meant if size == FREE else size
