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
from pangu_jax.apps.vision.exporting.plain_program import layer_of
from pangu_jax.errors import UserError

Shape = tuple[Any, ...]  # int, or what only a caller knows


class Written(NamedTuple):
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

    def write(self, closed: ClosedJaxpr, args: Sequence[Any]) -> list[Written]:
        """The results of a traced plain program, whole.

        Args:
          closed: of `jax.make_jaxpr`.
          args: handles of the arguments.

        Raises:
          UserError: it has an operation that the format lacks.
        """
        jaxpr = closed.jaxpr
        values: dict[Any, Written] = {}
        for variable, constant in zip(jaxpr.constvars, closed.consts, strict=True):
            values[variable] = self._constant(np.asarray(constant))
        for variable, handle in zip(jaxpr.invars, args, strict=True):
            values[variable] = Written(handle, variable.aval.shape, variable.aval.shape)

        def read(variable: Any) -> Written:
            known = isinstance(variable, Literal)
            return (
                self._constant(np.asarray(variable.val, variable.aval.dtype)) if known else values[variable]
            )

        for equation, of_gelu in gelu_pattern.steps(jaxpr):
            if of_gelu is not None:
                x = read(of_gelu)
                values[equation.outvars[0]] = x._replace(handle=self._gelu(x))
                continue
            made = self._written(equation, [read(variable) for variable in equation.invars])
            shape = equation.outvars[0].aval.shape
            parts = made if isinstance(made, list) else [made]
            for variable, part in zip(equation.outvars, parts, strict=True):
                whole = variable.aval.shape
                values[variable] = part if isinstance(part, Written) else Written(part, shape, whole)
        return [self.whole(read(variable)) for variable in jaxpr.outvars]

    def _written(self, equation: JaxprEqn, args: list[Written]) -> Any:
        name = equation.primitive.name
        method = getattr(self, f"_{name}", None)
        if method is None:
            raise UserError(
                f"--format {self.format} has no operation {name!r}, which the model needs in "
                f"{layer_of(equation)}: export it as stablehlo"
            )
        if name in ELEMENTWISE:
            shape = np.broadcast_shapes(*(tuple(map(_stand_in, arg.shape)) for arg in args))
            return Written(
                method(equation, *args), tuple(map(_as_meant, shape, _shape(equation))), _shape(equation)
            )
        return method(equation, *args)

    def whole(self, value: Written) -> Written:
        """A value with the shape that the program means."""
        if value.shape == value.meant:
            return value
        return Written(self._expanded(value), value.meant, value.meant)

    def reshaped(self, value: Written, shape: Shape) -> Written:
        """Another shape of as many elements."""
        if value.shape == shape:
            return value
        return Written(self._reshaped(value.handle, fixed(shape, self.format)), shape, shape)

    def _broadcast_in_dim(self, equation: JaxprEqn, value: Written, *sizes: Written) -> Written:
        del sizes
        meant, places = _shape(equation), equation.params["broadcast_dimensions"]
        shape: list[Any] = [1] * len(meant)
        for size, place in zip(value.shape, places, strict=True):
            shape[place] = size
        made = self.reshaped(value._replace(meant=value.shape), tuple(shape))
        return Written(made.handle, tuple(shape), meant)

    def _reshape(self, equation: JaxprEqn, value: Written, *sizes: Written) -> Written:
        del sizes
        return self.reshaped(self.whole(value), _shape(equation))

    _squeeze = _reshape
    _expand_dims = _reshape

    def _gelu(self, x: Written) -> Any:
        """By the error function."""
        raise NotImplementedError

    def _constant(self, array: np.ndarray) -> Written:
        raise NotImplementedError

    def _reshaped(self, handle: Any, shape: list[int]) -> Any:
        raise NotImplementedError

    def _expanded(self, value: Written) -> Any:
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
    return equation.outvars[0].aval.shape


def _stand_in(size: Any) -> int:
    """For NumPy's rules: a size that is not known is the same wherever it stands."""
    return size if isinstance(size, int) else FREE


def _as_meant(size: int, meant: Any) -> Any:
    return meant if size == FREE else size
