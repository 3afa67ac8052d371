"""A routed feed-forward block on CPU beside a dense one with the same active parameters, in turns.

Both forward and backward (input and all weights), fp32, jitted, in one process; the router, its softmax and
sort, dispatch, combination and balance loss are in the routed one's time.

    python -m benchmarks.experts [--rounds 15] [--tokens 2048] [--width 256] [--experts 16] [--active 4]
                                 [--d_ff 192] [--shared 256] [--router grouped|sigmoid]

Last line: the ratio round by round, by the backend's kernels where they are built (`make kernels`) and by
XLA's products alone. The bar is 1.25.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from pangu_jax.models.experts import CountedTokens, Experts, ExpertsConfig, RouterState, experts
from pangu_jax.models.feed_forward import FeedForward, feed_forward
from pangu_jax.models.parameters import Tree, arrays
from pangu_jax.models.placement import OneDevice
from tpu_npu_backends.cpu_kernels import library


def first_layer(module: nnx.Module) -> Tree:
    """Its parameters."""
    return jax.tree.map(lambda w: w[0], arrays(module))


def blocks(config: ExpertsConfig, width: int, place: OneDevice) -> dict[str, tuple[Callable, Tree]]:
    """Name -> (loss of parameters and rows, parameters)."""
    state = RouterState(jnp.full(config.experts, 1 / config.experts), jnp.zeros(config.experts))

    def routed(params: Tree, x_BxTxD: jax.Array) -> jax.Array:
        ones = jnp.ones(x_BxTxD.shape[:2])
        y_BxTxD, found = experts(params, x_BxTxD, state, CountedTokens(ones, ones), config, "silu", place)
        return jnp.sum(jnp.square(y_BxTxD)) + config.balance * found.imbalance

    def dense(params: Tree, x_BxTxD: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(feed_forward(params, x_BxTxD, "silu", place)))

    d_ff = config.active * config.d_ff + config.shared_d_ff
    return {
        "routed": (routed, first_layer(Experts(1, width, config, nnx.Rngs(0)))),
        "dense": (dense, first_layer(FeedForward(1, width, d_ff, True, nnx.Rngs(0)))),
    }


def seconds(compiled: Callable, params: Tree, x_BxTxD: jax.Array) -> float:
    begun = time.perf_counter()
    jax.block_until_ready(compiled(params, x_BxTxD))
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = {
        "rounds": 15,
        "tokens": 2048,
        "width": 256,
        "experts": 16,
        "active": 4,
        "d_ff": 192,
        "shared": 256,
    }
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--router", choices=("grouped", "sigmoid"), default="grouped")
    a = parser.parse_args()
    config = ExpertsConfig(a.experts, a.d_ff, a.active, a.router, shared_d_ff=a.shared)
    x_BxTxD = jax.random.normal(jax.random.key(1), (8, a.tokens // 8, a.width))
    said = []
    for native in (True, False) if library.register() else (False,):
        compiled = {
            name: (jax.jit(jax.grad(loss, (0, 1))), params)
            for name, (loss, params) in blocks(config, a.width, OneDevice(native)).items()
        }
        taken: dict[str, list[float]] = {name: [] for name in compiled}
        for _ in range(a.rounds + 2):  # the first two compile and warm up
            for name, (function, params) in compiled.items():
                taken[name].append(seconds(function, params, x_BxTxD))
        taken = {name: times[2:] for name, times in taken.items()}
        ratios = [r / d for r, d in zip(taken["routed"], taken["dense"], strict=True)]
        least = min(taken["routed"]) / min(taken["dense"])
        form = "kernels" if native else "XLA alone"
        milliseconds = {name: round(1e3 * statistics.median(times), 2) for name, times in taken.items()}
        print(f"{form}: median ms {milliseconds}, best of all {least:.3f}")
        said.append(f"{form} {statistics.median(ratios):.3f}")
    print(f"routed / dense, median of rounds: {', '.join(said)} (bar 1.25)")


if __name__ == "__main__":
    main()
