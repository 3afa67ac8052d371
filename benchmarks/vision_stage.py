"""A stage of `vision/3b.gin` alone, its gradient compiled for one chip that need not be there.

The whole step takes ten minutes of a core to compile for TPU; a stage one to three, and for H100 seconds. A
chip has 64 pictures, as of 4,096 on 64 chips. Weights are whole here: what has the shape of a whole stack
(zeros for its gradient, layers cut from it) is 1/64 of that in the step. Counted as docs/scaling.md has it.

    pip install 'pangu-jax[tpu]'            # or [cuda-compile], for h100:1x8
    python -m benchmarks.vision_stage main v5p:1x1x1 [--remat dots] [--unroll 1] [--layers N] [--rows 30]
"""

import argparse

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import SingleDeviceSharding

from pangu_jax.models.parameters import arrays, logical_axes
from pangu_jax.models.placement import OneDevice
from pangu_jax.planner import cost
from pangu_jax.workloads.vision.model import blocks
from tpu_npu_backends import compiling, selection, topologies

PICTURES = 64
# Layers, tokens of a picture, width, hidden width, heads.
STAGES = {
    "first": (8, 784, 640, 1920, 0),
    "second": (8, 196, 1280, 3840, 0),
    "main": (38, 49, 2560, 10240, 20),
    "painter": (6, 196, 512, 2048, 16),
}


class Stage(nnx.Module):
    """Blocks of one stage, stacked."""

    def __init__(self, layers: int, width: int, hidden: int, heads: int, rngs: nnx.Rngs):
        if heads:
            self.attention = blocks.AttentionBlock((layers, "layers"), width, heads, rngs)
        self.perceptron = blocks.PerceptronBlock((layers, "layers"), width, hidden, rngs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("topology")
    parser.add_argument("--remat", default="dots")
    parser.add_argument("--unroll", type=int, default=1)
    parser.add_argument("--layers", type=int, help="fewer than the stage has")
    parser.add_argument("--rows", type=int, default=30)
    flags = parser.parse_args()
    topology = topologies.parse(flags.topology)
    selection.select("cpu")
    chip = topologies.devices(topology)[0]
    layers, tokens, width, hidden, heads = STAGES[flags.stage]
    layers = flags.layers or layers

    def build() -> Stage:
        return Stage(layers, width, hidden, heads, nnx.Rngs(0))

    kinds = blocks.LAYER if heads else {"perceptron": blocks.perceptron}
    logical = logical_axes(build)
    placement = OneDevice(platform=chip.platform)

    def there(shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=SingleDeviceSharding(chip))

    def forward(params, x_BxTxD):
        return blocks.run_blocks(
            kinds, params, logical, x_BxTxD, placement, flags.remat, jnp.bfloat16, flags.unroll
        )

    @jax.jit
    def gradient(params, x_BxTxD, dy_BxTxD):
        y_BxTxD, backward = jax.vjp(forward, params, x_BxTxD)
        return y_BxTxD, backward(dy_BxTxD)

    params = jax.tree.map(lambda leaf: there(leaf.shape), jax.eval_shape(lambda: arrays(build())))
    x = there((PICTURES, tokens, width))
    compiled = compiling.compile_for(topology, gradient.lower(params, x, x))
    found = cost.report(compiled.as_text() or "", topology, {"data": 1}, [chip.id])
    attention = 8 * width**2 + 4 * tokens * width if heads else 0
    at_peak = 3 * PICTURES * tokens * layers * (4 * width * hidden + attention) / topology.chip.peak_flops
    print(found.table(flags.rows))
    print(f"{flags.stage}: {at_peak * 1e3:.1f} ms at the peak, {at_peak / found.compute_seconds:.1%} reached")


if __name__ == "__main__":
    main()
