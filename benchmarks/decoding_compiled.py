"""One greedy step of a recipe's decoder, compiled for chips that need not be there: its memory and time.

Weights are bfloat16 and the cache is of `length` tokens for each of `batch` texts; a step reads all of both
and writes one token per text. Seconds are a compiler's schedule, counted as in docs/scaling.md: nothing runs.

    pip install 'pangu-jax[tpu]'            # or [cuda-compile], for h100:1x8
    python -m benchmarks.decoding_compiled openpangu/7b.gin h100:1x8 --chips 1 [--batch 8] [--length 4096]
    python -m benchmarks.decoding_compiled openpangu/pro_moe_72b.gin v5p:2x2x1 --model 4
"""

import argparse
import time

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from pangu_jax import recipes
from pangu_jax.apps.language.decoding import prefill
from pangu_jax.apps.language.decoding.prefill import Prefill
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel import rules
from pangu_jax.parallel.constraints import ConstraintPlacement
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.planner import cost
from pangu_jax.recipes import Reference
from pangu_jax.workloads.language.model import architecture, decoder_weights, incremental
from pangu_jax.workloads.language.model.forward import Forward
from tpu_npu_backends import compiling, selection, topologies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", help="whose LanguageModel.model is @Decoder()")
    parser.add_argument("topology", help="such as v5p:2x2x1, or h100:1x8")
    parser.add_argument("--chips", type=int, help="so many of its chips; all unless given")
    parser.add_argument("--model", type=int, default=1, help="Layout.model")
    parser.add_argument("--expert", type=int, default=1, help="Layout.expert")
    parser.add_argument("--batch", type=int, default=8, help="texts")
    parser.add_argument("--length", type=int, default=4096, help="tokens of each, read and written")
    parser.add_argument("--rows", type=int, default=12, help="of what takes longest")
    flags = parser.parse_args()
    topology = topologies.parse(flags.topology)
    selection.select("cpu")
    devices = topologies.devices(topology)[: flags.chips]
    layout = Layout(model=flags.model, expert=flags.expert).on(len(devices))
    config = decoder_of(flags.recipe)
    if problems := layouts.check(layout, flags.batch, config.dimensions()):
        raise SystemExit("; ".join(what for _, what in problems))
    mesh = make_mesh(layout, devices)
    placement = ConstraintPlacement(mesh) if len(devices) > 1 else OneDevice(platform=topology.chip.platform)
    forward = Forward(config, placement, dtype=jnp.bfloat16)
    began = time.process_time()
    with jax.set_mesh(mesh):
        compiled = step(forward, mesh, topology, flags.batch, flags.length)
    memory = compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    held += memory.temp_size_in_bytes
    spent = time.process_time() - began
    print(
        f"{flags.recipe} on {len(devices)} x {topology.chip.name}, {layout.describe()}: one token of each of"
    )
    print(f"{flags.batch} texts, {flags.length} tokens long; compiled in {spent:.0f} CPU-seconds")
    print(f"holds {held / 2**30:.2f} GiB a chip of {topology.chip.hbm_bytes / 2**30:.2f}")
    found = cost.report(compiled.as_text(), topology, dict(mesh.shape))
    seconds = found.compute_seconds + found.exposed_seconds
    print(f"{1e3 * seconds:.2f} ms a step: {flags.batch / seconds:,.0f} tokens/s by the count")
    for row in found.top[: flags.rows]:
        print(f"{1e3 * row.seconds:9.3f} ms  {row.count:4d} x  {row.name[:40]:<40}  {row.op_name[-70:]}")


def decoder_of(name: str):
    """The shape of a recipe's decoder; no data is read."""
    recipe = recipes.load([name])
    reference = recipe.arguments(Reference("", "LanguageModel", True))["model"]
    return recipes.make(recipe, reference)


def step(forward: Forward, mesh, topology, batch: int, length: int):
    """The compiled step, its cache in the place of the one it takes."""

    def placed(tree, axes):
        return jax.tree.map(
            lambda leaf, own: jax.ShapeDtypeStruct(
                leaf.shape, jnp.bfloat16, sharding=NamedSharding(mesh, rules.storage_spec(own))
            ),
            tree,
            axes,
            is_leaf=lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct),
        )

    shapes = jax.eval_shape(lambda: architecture.init(forward.config, jax.random.key(0)))
    params = placed(shapes, architecture.axes(forward.config))

    def begin(params):
        weights = decoder_weights.prepare(forward, params)
        return weights, incremental.empty_cache(forward, weights, batch, length)

    def put(tree, shardings):
        return jax.tree.map(
            lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree, shardings
        )

    begun = jax.jit(begin).lower(params)
    where = compiling.compile_for(topology, begun).output_shardings
    weights, cache = put(jax.eval_shape(begin, params), where)
    rows = NamedSharding(mesh, rules.activation_spec(("batch",)))

    def of(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=rows)

    def greedy(weights, cache, tokens_Bx1, first_B, visible_Bx1xC, at):
        prefilled = Prefill(weights, None, first_B, None)
        logits_VxB, cache, visible = prefill.decode_step(
            forward, prefilled, cache, tokens_Bx1, at, 0, visible_Bx1xC
        )
        return jnp.argmax(logits_VxB, axis=0), cache, visible

    at = jax.ShapeDtypeStruct((), jnp.int32, sharding=NamedSharding(mesh, jax.sharding.PartitionSpec()))
    arguments = (
        weights,
        cache,
        of((batch, 1), jnp.int32),
        of((batch,), jnp.int32),
        of((batch, 1, length), jnp.bool_),
        at,
    )
    return compiling.compile_for(topology, jax.jit(greedy, donate_argnums=1).lower(*arguments))


if __name__ == "__main__":
    main()
