"""One greedy step of a decoder, lowered for devices that need not be there.

Weights are in the form of steps and the cache is full; a step reads both and writes a token of each text.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pangu_jax.apps.language.decoding import prefill
from pangu_jax.apps.language.decoding.prefill import Prefill
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel import rules
from pangu_jax.parallel.constraints import ConstraintPlacement
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.parallel.numbers import numbers as numbers_of
from pangu_jax.recipes import Recipe, Reference, check_values, make
from pangu_jax.recipes.functions import TRAIN
from pangu_jax.workloads.language.decoding_shapes import decoding_shape
from pangu_jax.workloads.language.model import architecture, decoder_weights, incremental
from pangu_jax.workloads.language.model.architecture import Architecture
from pangu_jax.workloads.language.model.forward import Forward
from pangu_jax.workloads.shape import DecodingShape
from tpu_npu_backends import compiling
from tpu_npu_backends.topologies import Topology


class PlannedDecoder:
    """A recipe's model that writes, as `planning.writing` asks for it; no data is read.

    Args:
      config: its shape.
      texts: written side by side.
      tokens: of each, read and written.
    """

    def __init__(self, config: Architecture, texts: int, tokens: int):
        self.config, self.texts, self.tokens = config, texts, tokens

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        return self.config.dimensions()

    def shape(self) -> DecodingShape:
        """It in numbers."""
        return decoding_shape(self.config, self.texts, self.tokens)

    def lower(self, layout: Layout, topology: Topology, devices: Sequence[jax.Device]) -> jax.stages.Lowered:
        """A step on a layout.

        Raises:
          UserError: the layout does not go with the devices, the model or the texts.
        """
        layout = layout.on(len(devices))
        if problems := layouts.check(layout, self.texts, self.dimensions()):
            raise UserError("; ".join(what for _, what in problems))
        mesh = make_mesh(layout, list(devices))
        platform = topology.chip.platform
        placement = ConstraintPlacement(mesh) if mesh.size > 1 else OneDevice(platform=platform)
        numbers = numbers_of(layout, platform)
        forward = Forward(self.config, placement, dtype=numbers.dtype, kernel=numbers.kernel)
        with jax.set_mesh(mesh):
            return lower_step(forward, mesh, topology, self.texts, self.tokens)


def of_recipe(recipe: Recipe, texts: int, tokens: int) -> PlannedDecoder:
    """The model that writes of a recipe of `train`.

    Raises:
      UserError: it has none, its shape contradicts itself, or a value is of another type.
    """
    if wrong := [finding for finding in check_values(recipe) if finding.stops]:
        raise UserError("\n".join(map(str, wrong)))
    trains = recipe.function.selector == TRAIN
    workload = recipe.arguments(TRAIN).get("workload") if trains else None
    model, scope = None, ""
    if isinstance(workload, Reference) and workload.selector.rpartition(".")[2] == "LanguageModel":
        model, scope = recipe.arguments(workload).get("model"), workload.scope
    if not isinstance(model, Reference):
        raise UserError(
            f"{recipe.where_missing()} has no decoder, so nothing is generated: --for generate plans recipes "
            "whose train.workload is @LanguageModel(), such as openpangu/7b.gin"
        )
    try:
        return PlannedDecoder(make(recipe, model, scope), texts, tokens)
    except (TypeError, ValueError) as error:
        raise UserError(f"{recipe.where_missing()}: {error}") from None


def lower_step(
    forward: Forward, mesh: Mesh, topology: Topology, texts: int, tokens: int
) -> jax.stages.Lowered:
    """The step; its new cache takes the place of the one that it is given. Under `jax.set_mesh(mesh)`."""
    params = _parameters(forward, mesh)

    def begin(params: Tree) -> tuple[Tree, Any]:
        weights = decoder_weights.prepare(forward, params)
        return weights, incremental.empty_cache(forward, weights, texts, tokens)

    # Where the compiler leaves them is where a step finds them.
    begun = compiling.compile_for(topology, jax.jit(begin).lower(params))
    weights, cache = jax.tree.map(_placed, jax.eval_shape(begin, params), begun.output_shardings)
    rows = NamedSharding(mesh, rules.activation_spec(("batch",)))
    whole = NamedSharding(mesh, PartitionSpec())

    def of(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=rows)

    def greedy(weights, memory, bias, cache, tokens_Bx1, first_B, visible_Bx1xC, at):
        prefilled = Prefill(weights, memory, first_B, bias)
        logits_VxB, cache, visible = prefill.decode_step(
            forward, prefilled, cache, tokens_Bx1, at, 0, visible_Bx1xC
        )
        return jnp.argmax(logits_VxB, axis=0), cache, visible

    arguments = (
        weights,
        *_of_encoder(forward, mesh, weights, texts, tokens),
        cache,
        of((texts, 1), jnp.int32),
        of((texts,), jnp.int32),
        of((texts, 1, tokens), jnp.bool_),
        jax.ShapeDtypeStruct((), jnp.int32, sharding=whole),
    )
    # What a step does not read is in memory too: what asks an encoder, and a module that guesses.
    return jax.jit(greedy, donate_argnums=3, keep_unused=True).lower(*arguments)


def _parameters(forward: Forward, mesh: Mesh) -> Tree:
    """Parameters as a run is opened with them."""
    shapes = jax.eval_shape(lambda: architecture.init(forward.config, jax.random.key(0)))
    return jax.tree.map(
        lambda leaf, own: jax.ShapeDtypeStruct(
            leaf.shape,
            forward.dtype if "embed" in own else leaf.dtype,
            sharding=NamedSharding(mesh, rules.storage_spec(own)),
        ),
        shapes,
        architecture.axes(forward.config),
    )


def _of_encoder(forward: Forward, mesh: Mesh, weights: Tree, texts: int, tokens: int) -> tuple[Any, Any]:
    """An encoder's output as keys and values, and T5's bias; None of a decoder alone."""
    config = forward.config
    if "encoder" not in config.towers:
        return None, None

    def abstract(axes: rules.LogicalAxes) -> Any:
        sharding = NamedSharding(mesh, rules.activation_spec(axes))
        return lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    def read(weights: Tree) -> tuple[Any, Any]:
        read_BxSxD = jnp.zeros((texts, tokens, config.d_model), forward.dtype)
        seen_BxS = jnp.ones((texts, tokens), jnp.int32)
        memory = incremental.encode_memory(forward, weights, read_BxSxD, seen_BxS)
        return memory, incremental.bias_by_distance(config, weights, tokens)

    memory, bias = jax.eval_shape(read, weights)
    layers = jax.tree.map(abstract(incremental.VALUES[:2]), memory.layers)
    bias = jax.tree.map(abstract(("heads",)), bias)
    return memory._replace(layers=layers, seen_BxS=abstract(("batch",))(memory.seen_BxS)), bias


def _placed(leaf: jax.ShapeDtypeStruct, where: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
