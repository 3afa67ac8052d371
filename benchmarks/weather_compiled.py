"""Pangu-Weather at full size for one chip that need not be there: a forecast step, or a block's gradient.

`forecast` is one step of 24 hours, weights and all, for one state in bfloat16: what a chip must hold to
forecast. `fine` and `coarse` are a rolled block of the first and of the second resolution with its gradient:
the whole train step takes long to compile for a TPU, a block two minutes of a core. Counted as in
docs/scaling.md; these are a compiler's figures, nothing runs.

    pip install 'pangu-jax[tpu]'            # or [cuda-compile], for h100:1x8
    python -m benchmarks.weather_compiled forecast h100:1x8
    python -m benchmarks.weather_compiled fine v5p:1x1x1 [--rows 30]
"""

import argparse
import dataclasses
import time

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.planner import cost
from pangu_jax.workloads.science.model.earth import EarthConfig
from pangu_jax.workloads.science.model.earth_blocks import WindowedBlock
from pangu_jax.workloads.science.scales import State
from tpu_npu_backends import compiling, selection, topologies

PARTS = ("forecast", "fine", "coarse")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("topology", help="of one chip, such as v5p:1x1x1; of h100:1x8 the first")
    parser.add_argument("--rows", type=int, default=20, help="of what takes longest")
    flags = parser.parse_args()
    topology = topologies.parse(flags.topology)
    selection.select("cpu")
    mesh = make_mesh(Layout(data=1), topologies.devices(topology)[:1])
    place = NamedSharding(mesh, PartitionSpec())
    run = OneDevice(platform=topology.chip.platform)
    made = forecast(run) if flags.part == "forecast" else block(run, flags.part == "coarse")
    function, arrays = made
    arrays = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), arrays)
    began = time.process_time()
    compiled = compiling.compile_for(topology, jax.jit(function).lower(*arrays))
    memory = compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    print(f"{flags.part} for {topology.name}: compiled in {time.process_time() - began:.0f} CPU-seconds")
    print(f"holds {held / 2**30:.2f} GiB of {topology.chip.hbm_bytes / 2**30:.2f}")
    found = cost.report(compiled.as_text(), topology, dict(mesh.shape))
    flops = found.matmul_flops + found.kernel_flops
    print(
        f"{1e3 * found.compute_seconds:.2f} ms, {1e3 * found.kernel_seconds:.2f} of them kernels of this "
        f"library; {flops / 1e12:.2f} TFLOP, {flops / found.compute_seconds / topology.chip.peak_flops:.1%} "
        "of the peak"
    )
    for row in found.top[: flags.rows]:
        print(f"{1e3 * row.seconds:9.3f} ms  {row.count:4d} x  {row.name[:40]:<40}  {row.op_name[-70:]}")


def forecast(place: OneDevice):
    """The network over one normalised state: its function and arrays."""
    config = EarthConfig()
    step = config.forward(place, "none", jnp.bfloat16)

    def forward(params, upper, surface, constants) -> State:
        return step(params, upper, surface, constants)

    sides = config.latitude, config.longitude
    fields = (
        (1, config.levels, *sides, config.upper),
        (1, *sides, config.surface),
        (*sides, config.constants),
    )
    params = jax.eval_shape(lambda: config.init(jax.random.key(0)))
    return forward, (params, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in fields))


def block(place: OneDevice, coarse: bool):
    """A rolled block and its gradient: its function and arrays."""
    config, layer = EarthConfig(), int(coarse)
    grid = dataclasses.replace(config.grids[layer], by_level=place.platform == "tpu")
    one = WindowedBlock(grid, True, config.norm, place)

    def gradient(params, x_BxTxD, d_out_BxTxD):
        return jax.vjp(lambda params, x: one(params, x, None), params, x_BxTxD)[1](d_out_BxTxD)

    stacked = jax.eval_shape(lambda: config.init(jax.random.key(0)))[f"layer{layer + 1}"]
    params = jax.tree.map(lambda w: jax.ShapeDtypeStruct(w.shape[1:], jnp.bfloat16), stacked)
    x = jax.ShapeDtypeStruct((1, grid.tokens, config.dims[layer]), jnp.bfloat16)
    return gradient, (params, x, x)


if __name__ == "__main__":
    main()
