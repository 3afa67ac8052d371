"""A function of arrays as the few operations that every format knows how to write.

The function is traced and carried out anew, operation by operation:

- calls and custom derivatives are opened, names and barriers left out;
- what depends on no argument is computed now: layers are cut out of their stacks, tables are looked up;
- a product becomes one of two matrices, or of two stacks of them, so that no format needs einsum;
- a transposition moves as few dimensions as it can: dimensions that stay together are one (LiteRT knows six);
- weights of products may be kept in 8 bits.

Nothing here knows a model. The result is again a function that JAX can trace, export, or run.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from pangu_jax.apps.vision.exporting import int8_weights

Value = Any  # np.ndarray where it is known, else an array that is traced
NOTHING = ("name", "optimization_barrier", "copy", "copy_p", "sharding_constraint")


def plain(function: Callable[..., jax.Array], int8: bool = False) -> Callable[..., jax.Array]:
    """The same function, of plain operations.

    Args:
      function: of arrays; what else it needs it has.
      int8: keep weights of products in 8 bits with a scale per output channel (`int8_weights`).
    """

    def carried_out(*args: jax.Array) -> jax.Array:
        closed = jax.make_jaxpr(function)(*args)
        return _Walk(int8).run(closed.jaxpr, closed.consts, args)[0]

    return carried_out


def layer_of(equation: JaxprEqn) -> str:
    """Where in a model's source an operation stands: "self_attention, blocks.py:92"."""
    place, _, function = source_info_util.summarize(equation.source_info).partition(" ")
    file, _, position = place.rpartition("/")[2].partition(":")
    return f"{function.strip('()') or 'the program'}, {file}:{position.partition(':')[0]}"


def shape_of(variable: Any) -> tuple[Any, ...]:
    """Of a variable of a traced program: int, or a size that only a caller knows."""
    return variable.aval.shape


def number(literal: Any) -> np.ndarray:
    """One that a traced program holds by itself, of its dtype and without dimensions."""
    return np.asarray(literal.val, literal.aval.dtype)


def _opened(equation: JaxprEqn) -> ClosedJaxpr | None:
    """What a call calls; None of what is no call, and of loops and branches."""
    if equation.primitive.name in ("scan", "while", "cond"):
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in equation.params:
            inner = equation.params[name]
            return inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
    return None


class _Walk:
    """One function on its way."""

    def __init__(self, int8: bool):
        self._int8 = int8
        self._alike: dict[int, tuple[Value, Any]] = {}  # by id: arrays of one value, and the value

    def run(
        self, jaxpr: Jaxpr, consts: Sequence[Value], args: Sequence[Value], called: JaxprEqn | None = None
    ) -> list[Value]:
        values: dict[Any, Value] = {}
        values.update(zip(jaxpr.constvars, map(_known, consts), strict=True))
        values.update(zip(jaxpr.invars, args, strict=True))

        def read(variable: Any) -> Value:
            return number(variable) if isinstance(variable, Literal) else values[variable]

        for equation in jaxpr.eqns:
            if called is not None and not source_info_util.summarize(equation.source_info):
                equation = equation.replace(source_info=called.source_info)  # it is of JAX, the call ours
            made = self._carry_out(equation, [read(variable) for variable in equation.invars])
            values.update(zip(equation.outvars, made, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _carry_out(self, equation: JaxprEqn, args: list[Value]) -> list[Value]:
        name = equation.primitive.name
        if name in NOTHING:
            return args
        inner = _opened(equation)
        if inner is not None:
            return self.run(inner.jaxpr, inner.consts, args, equation)
        if all(isinstance(arg, np.ndarray) for arg in args) and _is_fixed(equation):
            with jax.ensure_compile_time_eval():
                return [np.asarray(made) for made in _bound(equation, [jnp.asarray(arg) for arg in args])]
        # Errors and formats then say where in the model it stands, not here.
        source = equation.source_info
        with source_info_util.user_context(source.traceback, name_stack=source.name_stack):
            if name == "select_n" and (case := self._only_case(*args)) is not None:
                return [case]
            if name == "dot_general":
                return [self._product(equation, *args)]
            if name == "transpose":
                return [transposed(args[0], equation.params["permutation"])]
            made = _bound(equation, args)
        if name == "broadcast_in_dim" and isinstance(args[0], np.ndarray) and _is_uniform(args[0]):
            self._alike[id(made[0])] = made[0], args[0].flat[0]
        return made

    def _only_case(self, which: Value, *cases: Value) -> Value | None:
        """What a choice always takes, where that is known: without a mask every token is seen."""
        _, number = self._alike.get(id(which), (None, None))
        return None if number is None else cases[int(number)]

    def _product(self, equation: JaxprEqn, left: Value, right: Value) -> Value:
        """As [M, K] times [K, N], or [B, M, K] times [B, K, N]."""
        (left_summed, right_summed), (left_stacked, right_stacked) = equation.params["dimension_numbers"]
        left_free = [d for d in range(left.ndim) if d not in (*left_summed, *left_stacked)]
        right_free = [d for d in range(right.ndim) if d not in (*right_summed, *right_stacked)]
        stack = [left.shape[d] for d in left_stacked]
        rows, columns = [left.shape[d] for d in left_free], [right.shape[d] for d in right_free]
        depth = [math.prod(left.shape[d] for d in left_summed)]
        many = [math.prod(stack)] if stack else []
        left = transposed(left, (*left_stacked, *left_free, *left_summed))
        right = transposed(right, (*right_stacked, *right_summed, *right_free))
        left = reshaped(left, [*many, math.prod(rows), *depth])
        right = reshaped(right, [*many, *depth, math.prod(columns)])
        if self._int8 and not stack:
            left, right = (
                int8_weights.kept(side, axis) if isinstance(side, np.ndarray) else side
                for side, axis in ((left, 1), (right, 0))
            )
        last = left.ndim - 1
        batch = tuple(range(len(many)))
        numbers = (((last,), (last - 1,)), (batch, batch))
        made = lax.dot_general(left, right, numbers, equation.params["precision"], jnp.float32)
        return reshaped(made, [*stack, *rows, *columns])


def transposed(x: Value, permutation: Sequence[int]) -> Value:
    """As `lax.transpose`, by dimensions as they stay together; those of 1 are moved by reshaping alone."""
    shape = [x.shape[d] for d in permutation]
    if isinstance(x, np.ndarray):
        return np.ascontiguousarray(x.transpose(tuple(permutation)))
    together: list[list[int]] = []
    moved = [d for d in permutation if not _is_one(x.shape[d])]
    for d in moved:
        between = x.shape[together[-1][-1] + 1 : d] if together and d > together[-1][-1] else (0,)
        if all(map(_is_one, between)):
            together[-1].append(d)
        else:
            together.append([d])
    before = sorted(together)
    order = [before.index(group) for group in together]
    if order == sorted(order):
        return reshaped(x, shape)
    x = reshaped(x, [math.prod(x.shape[d] for d in group) for group in before])
    return reshaped(lax.transpose(x, order), shape)


def reshaped(x: Value, shape: Sequence[Any]) -> Value:
    """As `lax.reshape`; nothing where it has the shape."""
    if tuple(x.shape) == tuple(shape):
        return x
    return x.reshape(tuple(shape)) if isinstance(x, np.ndarray) else lax.reshape(x, shape)


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1


def _is_uniform(array: np.ndarray) -> bool:
    return array.size > 0 and bool(np.all(array == array.flat[0]))


def _known(constant: Any) -> Value:
    return constant if isinstance(constant, jax.core.Tracer) else np.asarray(constant)


def _is_fixed(equation: JaxprEqn) -> bool:
    """Whether no result has a size that only a caller knows."""
    return all(isinstance(size, int) for made in equation.outvars for size in shape_of(made))


def _bound(equation: JaxprEqn, args: Sequence[Value]) -> list[Value]:
    made = equation.primitive.bind(*args, **equation.params)
    return list(made) if equation.primitive.multiple_results else [made]
