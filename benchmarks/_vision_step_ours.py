"""The training step of a plain ViT by this library, as `pangu train` runs it, for benchmarks/vision_step.py."""

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.vision_step import BATCH, CLASSES, DEPTH, HEADS, PATCH, SIZE, WIDTH, drawn
from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import arrays, logical_axes, normal, zeros
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training.optimizers import adamw
from pangu_jax.training.step import init_state, make_train_step
from pangu_jax.workloads import RunContext, Sums, Variables, Workload
from pangu_jax.workloads.vision.model import blocks
from tpu_npu_backends import selection

GRID = SIZE // PATCH
VALUES = PATCH * PATCH * 3


class Net(nnx.Module):
    """Patches, blocks and a head."""

    def __init__(self, rngs: nnx.Rngs):
        layers = (DEPTH, "layers")
        self.embed = normal(rngs, (VALUES, WIDTH), (None, "embed"), fan_in=VALUES)
        self.embed_bias = zeros((WIDTH,), ("norm",))
        self.position = normal(rngs, (GRID * GRID, WIDTH), (None, "norm"), fan_in=2500)
        self.attention = blocks.AttentionBlock(layers, WIDTH, HEADS, rngs)
        self.perceptron = blocks.PerceptronBlock(layers, WIDTH, 4 * WIDTH, rngs)
        self.norm = LayerNorm(WIDTH)
        self.head = normal(rngs, (WIDTH, CLASSES), ("embed", None), fan_in=WIDTH)
        self.head_bias = zeros((CLASSES,), (None,))


class Classifier(Workload):
    """Classes of pictures."""

    name = "vision"

    def init(self, key):
        return Variables(arrays(Net(nnx.Rngs(params=key))))

    def logical_axes(self):
        return Variables(logical_axes(lambda: Net(nnx.Rngs(0))))

    def dimensions(self):
        return {"embed": WIDTH, "heads": HEADS, "mlp": 4 * WIDTH}

    def loss(self, variables, batch, keys, run):
        del keys
        params, axes = variables.params, self.logical_axes().params
        x = (batch["image"].astype(jnp.float32) / 255 - 0.45) / 0.25
        x = x.reshape(-1, GRID, PATCH, GRID, PATCH, 3).swapaxes(2, 3).reshape(-1, GRID * GRID, VALUES)
        x = x @ params["embed"] + params["embed_bias"] + params["position"]
        x = blocks.run_blocks(
            blocks.LAYER, params, axes, x, run.placement, run.remat, run.dtype, unroll=DEPTH
        )
        logits = layer_norm(x.mean(1), params["norm"]) @ params["head"] + params["head_bias"]
        log_p = jax.nn.log_softmax(logits)
        loss = -jnp.sum(jnp.take_along_axis(log_p, batch["label"][:, None], 1))
        return Sums(loss, jnp.float32(len(x)), {})

    def batch_shapes(self, batch_size):
        del batch_size
        return {name: jax.ShapeDtypeStruct(a.shape, a.dtype) for name, a in zip(("image", "label"), drawn())}

    def train_source(self, batch_size, seed, shift=0):
        raise NotImplementedError

    def validation_sources(self, batch_size):
        return {}

    def flops_per_step(self, batch_size):
        return 0.0

    def tokens_per_step(self, batch_size):
        return batch_size


def step():
    """A function that makes a step and gives its loss."""
    backend = selection.select("cpu")
    layout = Layout().on(len(backend.devices))
    mesh = make_mesh(layout, list(backend.devices))
    workload, optimizer = Classifier(), adamw(clip=0.0)
    run = RunContext(OneDevice(backend.native), "none", jnp.dtype("float32"))
    train_step = make_train_step(
        workload, optimizer, run, layout, mesh,
        batch_size=BATCH, seed=0, compiler_options=backend.compiler_options,
    )
    state = init_state(workload, optimizer, mesh, 0)
    batch = dict(zip(("image", "label"), drawn(), strict=True))

    def advance():
        nonlocal state
        state, metrics = train_step(state, batch)
        return float(metrics["loss"])

    return advance
