"""Calls from programs on npu back to Python: jax.pure_callback, io_callback, jax.debug.print.

JAX lowers them for the platforms of its own list. Its rules for cpu are used as they are, in a context that
calls itself cpu, so that programs call `xla_ffi_python_cpu_callback` with a number; callbacks.cc has that
function, and comes here with it. The functions are kept for the life of the process.
"""

import dataclasses
import secrets
from collections.abc import Callable, Sequence

import numpy as np
from jax._src import callback, debugging
from jax._src.interpreters import mlir

from tpu_npu_backends.ascend.plugin import PLATFORM
from tpu_npu_backends.ascend.plugin.hooks import RefusedError

# Numbers start anywhere: a program in JAX's compilation cache holds those of its own process, and must not be
# taken for one of another.
_FIRST = secrets.randbelow(2**61)


class _Functions(list):
    """JAX appends a function and takes the length less one for its number."""

    def __len__(self) -> int:
        return _FIRST + super().__len__()

    def of(self, number: int) -> Callable[..., Sequence[np.ndarray]]:
        return self[number - _FIRST]


_functions = _Functions()


def call(number: int, arguments: list[np.ndarray]) -> Sequence[np.ndarray]:
    """What the function of that number returns: a hook. Its traceback JAX has logged by then."""
    try:
        return _functions.of(number)(*arguments)
    except Exception as error:
        raise RefusedError(f"a Python callback failed: {type(error).__name__}: {error}") from None


def register() -> None:
    """Gives JAX rules that lower callbacks for npu. After platform npu is registered."""
    rules = {
        callback.pure_callback_p: callback.pure_callback_lowering,
        callback.io_callback_p: callback.io_callback_lowering,
        debugging.debug_callback_p: debugging.debug_callback_lowering,
    }
    if hasattr(debugging, "debug_print_p"):  # jax >= 0.8
        rules[debugging.debug_print_p] = debugging.debug_print_lowering_rule
    for primitive, rule in rules.items():
        # A number is of one place in one program: no lowering is used twice.
        mlir.register_lowering(primitive, _as_on_cpu(rule), platform=PLATFORM, cacheable=False)


def _as_on_cpu(rule: Callable) -> Callable:
    def lower(ctx: mlir.LoweringRuleContext, *arguments, **parameters):
        # JAX's callbacks need platform cpu beside npu in any case: their arguments are put there.
        module = ctx.module_context.replace(platforms=("cpu",), backend=None, host_callbacks=_functions)
        inner = dataclasses.replace(ctx, module_context=module, tokens_out=None)
        results = rule(inner, *arguments, **parameters)
        if inner.tokens_out is not None:
            ctx.set_tokens_out(inner.tokens_out)
        return results

    return lower
