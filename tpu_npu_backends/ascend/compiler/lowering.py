"""StableHLO to tensor-level linalg, arith and math, by jaxlib's own passes.

What those passes have no good form for is set apart first, as calls of declared functions, which they leave
alone: products (`dots`), loops and branches (`loops`). Indexing is rewritten into what they have a form for.
"""

from dataclasses import dataclass

from jax.interpreters import mlir as jax_mlir
from jaxlib.mlir import ir, passmanager
from jaxlib.mlir.dialects import mhlo, stablehlo

from tpu_npu_backends.ascend.compiler import (
    control_flow,
    dots,
    elementwise,
    indexing,
    scans,
    sorting,
    unsigned,
)
from tpu_npu_backends.ascend.compiler.graph import DTYPES, unsupported
from tpu_npu_backends.ascend.compiler.rewriting import (
    callee_of,
    clone_block,
    name_of,
    replace,
    rewrite_each,
    walk,
)
from tpu_npu_backends.errors import BackendError

_TO_SIMPLE_STABLEHLO = (
    "builtin.module(func.func(chlo-legalize-to-stablehlo),func.func(stablehlo-complex-math-expander),"
    "canonicalize,cse,symbol-dce)"
)
_TO_LINALG = (
    "builtin.module(stablehlo-legalize-to-linalg{enable-primitive-ops=true},stablehlo-convert-to-signless,"
    "canonicalize,cse)"
)
_TIDY = "builtin.module(canonicalize,cse)"

# Annotations of partitioning: the values pass through.
_IDENTITY_CALLS = {"Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "xla.sdy.FuncResultSharding"}
_IDENTITY_OPS = {"sdy.sharding_constraint", "sdy.reshard", "stablehlo.optimization_barrier"}

_WITHOUT_KERNELS = {
    *(
        "cholesky",
        "convolution",
        "custom_call",
        "fft",
        "gather",
        "reduce_precision",
        "reduce_window",
        "reverse",
    ),
    *("rng", "rng_bit_generator", "scatter", "select_and_scatter", "sort", "triangular_solve"),
    *("all_gather", "all_reduce", "all_to_all", "collective_permute", "reduce_scatter", "partition_id"),
    *("dynamic_slice", "dynamic_update_slice", "infeed", "outfeed", "send", "recv", "after_all"),
}

stablehlo.register_stablehlo_passes()
mhlo.register_mhlo_passes()


@dataclass
class Lowered:
    """A program as functions of linalg, arith, math and tensor; `main` is its entry."""

    context: ir.Context
    module: ir.Module
    result_dtypes: list[str]  # of the program, by NumPy's name

    def functions(self) -> dict[str, ir.Operation]:
        """Name -> func.func with a body."""
        found = {}
        for op in self.module.body.operations:
            op = op.operation
            if op.name == "func.func" and list(op.regions[0].blocks):
                found[name_of(op)] = op
        return found


def lower(program: str | bytes) -> Lowered:
    """The program, lowered.

    Args:
      program: StableHLO as text, or as portable bytecode.

    Raises:
      BackendError: it is not a StableHLO program, or one with an op that nothing here can lower.
    """
    context = jax_mlir.make_ir_context()
    with context, ir.Location.unknown():
        module = _parse(program, context)
        _drop_annotations(module)
        dtypes = _result_dtypes(module)
        _inline_calls(module)
        _run(module, _TO_SIMPLE_STABLEHLO)
        while control_flow.unroll_short_loops(module):
            _run(module, _TIDY)
        rewrite_each(module, sorting.REWRITES)
        rewrite_each(module, indexing.REWRITES)
        rewrite_each(module, scans.REWRITES)
        rewrite_each(module, dots.REWRITES)
        rewrite_each(module, unsigned.REWRITES)
        _refuse_what_is_left(module)
        control_flow.outline(module)
        _run(module, _TO_LINALG)
        elementwise.expand_maps(module)
        _run(module, _TIDY)
    return Lowered(context, module, dtypes)


def _refuse_what_is_left(module: ir.Module) -> None:
    """Name what has no kernel before it is lowered to something that says less."""
    for op in walk(module.operation):
        if op.name.removeprefix("stablehlo.") in _WITHOUT_KERNELS:
            raise unsupported(op.name, op.location)


def _parse(program: str | bytes, context: ir.Context) -> ir.Module:
    try:
        if isinstance(program, str):
            return ir.Module.parse(program)
        try:
            return stablehlo.deserialize_portable_artifact(context, program)
        except (ValueError, ir.MLIRError):
            return ir.Module.parse(program)  # plain bytecode, as JAX writes it without a version
    except (ValueError, ir.MLIRError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else "it cannot be parsed"
        raise BackendError(f"not a StableHLO program: {line[:200]}") from None


def _result_dtypes(module: ir.Module) -> list[str]:
    for op in module.body.operations:
        if op.operation.name == "func.func" and name_of(op.operation) == "main":
            results = ir.FunctionType(ir.TypeAttr(op.operation.attributes["function_type"]).value).results
            elements = [ir.RankedTensorType(result).element_type for result in results]
            names = [str(element) for element in elements]
            # What is no type here is refused with its op later.
            return [
                f"uint{n[2:]}" if n.startswith("ui") else DTYPES[n].name if n in DTYPES else n for n in names
            ]
    raise BackendError("the program has no function called main")


def _run(module: ir.Module, pipeline: str) -> None:
    passmanager.PassManager.parse(pipeline).run(module.operation)


def _drop_annotations(module: ir.Module) -> None:
    for op in list(walk(module.operation)):
        if op.name in _IDENTITY_OPS or (
            op.name == "stablehlo.custom_call"
            and ir.StringAttr(op.attributes["call_target_name"]).value in _IDENTITY_CALLS
        ):
            replace(op, list(op.operands))
        elif op.name == "sdy.mesh":
            op.erase()
    for op in list(module.body.operations):
        op = op.operation
        if op.name == "func.func":
            for name in ("arg_attrs", "res_attrs"):
                if name in op.attributes:
                    del op.attributes[name]
    for named in list(module.operation.attributes):
        name = named if isinstance(named, str) else named.name
        if "." in name:
            del module.operation.attributes[name]


def _inline_calls(module: ir.Module) -> None:
    """Put the bodies of called functions where they are called; only `main` is left."""
    functions = {
        name_of(op.operation): op.operation
        for op in module.body.operations
        if op.operation.name == "func.func"
    }
    if "main" not in functions:
        raise BackendError("the program has no function called main")

    def inline_below(op: ir.Operation) -> None:
        for inner in list(walk(op)):
            if inner.name != "func.call":
                continue
            callee = functions[callee_of(inner)]
            inline_below(callee)
            copy = clone_block(callee.regions[0].blocks[0], list(inner.operands), inner, called=True)
            replace(inner, copy)

    inline_below(functions["main"])
    for name, op in functions.items():
        if name != "main":
            op.erase()
