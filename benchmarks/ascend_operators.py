"""Fused chains and int8 products for Ascend against the same in one kernel per op: kernels, bytes, accuracy.

Nothing here has run on hardware: kernels are compiled by bishengir-compile, and run in the simulator, which
counts the bytes that they move from and to global memory. Fused is what the Ascend compiler makes of the
whole function; unfused is each arithmetic op compiled for itself, as eager execution would launch them
(reshapes and broadcasts belong to the op that reads them).

    python -m benchmarks.ascend_operators [--rows 256] [--width 512] [--json FILE]
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from tpu_npu_backends.ascend import compiler, simulator
from tpu_npu_backends.ascend.operators import (
    bias_activation,
    dequantise,
    int8_matmul,
    int8_product,
    quantise_columns,
    quantise_rows,
    rms_norm,
    rms_norm_residual,
)

# Ops that only say how another one reads its operands.
_VIEWS = ("broadcast_in_dim", "reshape", "squeeze", "expand_dims")
# Ops that stand for the ops of a function of their own.
_CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call")


def compiled(function: Callable, arguments: list[np.ndarray]) -> tuple[compiler.AscendProgram, list[str]]:
    """The compiled function, and the ops of it that were left to the host."""
    program = compiler.compile_program(jax.jit(function).lower(*arguments).as_text())
    return program, [f"{op['count']} x {op['op']}" for op in program.report["host_ops"]]


def run_unfused(
    function: Callable, arguments: list[np.ndarray]
) -> tuple[list[np.ndarray], simulator.KernelTraffic]:
    """The function's results, each arithmetic op in a program of its own, and what those moved."""
    closed = jax.make_jaxpr(function)(*arguments)
    total = simulator.KernelTraffic()
    # What a value is: a function of arrays, and those arrays; views are not run until somebody reads them.
    values: dict = {}

    def read(atom) -> tuple[Callable, list[np.ndarray]]:
        if isinstance(atom, Literal):
            return lambda: jnp.asarray(atom.val, atom.aval.dtype), []
        return values[atom]

    def walk(jaxpr, consts, inputs) -> list[tuple[Callable, list[np.ndarray]]]:
        values.update(zip(jaxpr.constvars, consts, strict=True))
        values.update(zip(jaxpr.invars, inputs, strict=True))
        for equation in jaxpr.eqns:
            operands = [read(atom) for atom in equation.invars]
            if equation.primitive.name in _CALLS:
                inner = next(
                    equation.params[name] for name in ("jaxpr", "call_jaxpr") if name in equation.params
                )
                results = walk(inner.jaxpr, [_whole(c) for c in inner.consts], operands)
            else:
                results = _apply(equation, operands, total)
            values.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    results = walk(closed.jaxpr, [_whole(c) for c in closed.consts], [_whole(a) for a in arguments])
    return [arrays[0] for _, arrays in results], total


def _whole(array) -> tuple[Callable, list[np.ndarray]]:
    return lambda x: x, [np.asarray(array)]


def _apply(equation, operands, total: simulator.KernelTraffic):
    """One op: composed with its operands' views, and run unless it is a view itself."""
    counts = [len(arrays) for _, arrays in operands]
    arrays = [array for _, each in operands for array in each]

    def compute(*flat):
        inputs, at = [], 0
        for (make, _), length in zip(operands, counts, strict=True):
            inputs.append(make(*flat[at : at + length]))
            at += length
        return equation.primitive.bind(*inputs, **equation.params)

    if equation.primitive.name in _VIEWS:
        return [(compute, arrays)]
    program, _ = compiled(compute, arrays)
    with simulator.counting() as moved:
        results = program.run(arrays)
    total.launches += moved.launches
    total.loaded += moved.loaded
    total.stored += moved.stored
    return [_whole(result) for result in results]


def compare(name: str, function: Callable, arguments: list[np.ndarray]) -> dict:
    """A row of the table."""
    program, host = compiled(function, arguments)
    with simulator.counting() as fused:
        results = program.run(arguments)
    alone, unfused = run_unfused(function, arguments)
    exact = [np.asarray(x, np.float64) for x in jax.tree.leaves(jax.jit(function)(*arguments))]
    return {
        "name": name,
        "kernels": fused.launches,
        "kernels_unfused": unfused.launches,
        "bytes": fused.loaded + fused.stored,
        "bytes_unfused": unfused.loaded + unfused.stored,
        "error": _largest_error(results, exact),
        "error_unfused": _largest_error(alone, exact),
        "host": host,
    }


def _largest_error(results: list[np.ndarray], exact: list[np.ndarray]) -> float:
    """Relative to the largest value of each result, against XLA on CPU."""
    return max(
        float(abs(x.astype(np.float64) - y).max() / abs(y).max()) for x, y in zip(results, exact, strict=True)
    )


def chains(rows: int, width: int) -> list[tuple[str, Callable, list[np.ndarray]]]:
    """Name, function and arguments of each chain."""
    draw = np.random.default_rng(0)
    x, residual = (draw.standard_normal((rows, width)).astype(np.float32) for _ in range(2))
    gain, bias, column_scales = (draw.random(width).astype(np.float32) for _ in range(3))
    row_scales = draw.random((rows, 1)).astype(np.float32) / 127
    sums = draw.integers(-(10**6), 10**6, (rows, width)).astype(np.int32)
    weights = np.asarray(quantise_columns(draw.standard_normal((width, width)) / width**0.5)[0])
    scales = [row_scales, column_scales / 127]
    return [
        ("bias + GELU", lambda x, b: bias_activation(x, b, "gelu"), [x, bias]),
        ("bias + SiLU", lambda x, b: bias_activation(x, b, "silu"), [x, bias]),
        ("RMSNorm", rms_norm, [x, gain]),
        ("residual + RMSNorm", rms_norm_residual, [x, residual, gain]),
        ("quantise rows", quantise_rows, [x]),
        ("dequantise + bias", dequantise, [sums, *scales, bias]),
        ("dequantise + bias + SiLU", lambda *a: dequantise(*a, activation="silu"), [sums, *scales, bias]),
        (
            "int8 matmul + bias + GELU",
            lambda *a: int8_matmul(*a, activation="gelu"),
            [x, weights, scales[1], bias],
        ),
    ]


def accuracy(rows: int, width: int) -> dict[str, float]:
    """The int8 product against float32 and against the exact sums of its own int8 factors."""
    draw = np.random.default_rng(1)
    x = draw.standard_normal((rows, width)).astype(np.float32)
    w = (draw.standard_normal((width, width)) / width**0.5).astype(np.float32)
    x_int8, row_scales = map(np.asarray, quantise_rows(x))
    w_int8, column_scales = map(np.asarray, quantise_columns(w))
    program, host = compiled(int8_product, [x_int8, w_int8])
    (sums,) = program.run([x_int8, w_int8])
    exact = x_int8.astype(np.int64) @ w_int8.astype(np.int64)
    y = np.asarray(dequantise(sums, row_scales, column_scales), np.float64)
    full = x.astype(np.float64) @ w.astype(np.float64)
    return {
        "int32 sums that differ from the exact ones": int((sums != exact).sum()),
        "of": int(exact.size),
        "relative error (Frobenius) against float32": float(np.linalg.norm(y - full) / np.linalg.norm(full)),
        "ops left to the host": len(host),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args()
    rows = [compare(*chain) for chain in chains(options.rows, options.width)]
    print(f"{options.rows} x {options.width} float32; simulated, never run on hardware")
    columns = f"{'kernels':>14} {'ratio':>6} {'MB moved':>16} {'ratio':>6} {'error':>9}"
    print(f"{'chain':<26} {columns}  left to the host")
    for row in rows:
        kernels = f"{row['kernels']} / {row['kernels_unfused']}"
        moved = f"{row['bytes'] / 1e6:.2f} / {row['bytes_unfused'] / 1e6:.2f}"
        fewer, less = (row[f"{what}_unfused"] / row[what] for what in ("kernels", "bytes"))
        print(
            f"{row['name']:<26} {kernels:>14} {fewer:>6.1f} {moved:>16} {less:>6.1f} {row['error']:>9.1e}  "
            + ", ".join(row["host"])
        )
    figures = accuracy(options.rows, options.width)
    print("int8 matmul: " + "; ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    if options.json:
        options.json.write_text(json.dumps({"chains": rows, "int8": figures}, indent=1))


if __name__ == "__main__":
    main()
