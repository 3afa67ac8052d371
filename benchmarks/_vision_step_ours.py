"""A plain ViT's training step by this library, as `pangu train` runs it, for benchmarks/vision_step.py."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.vision_step import BATCH, CLASSES, DEPTH, HEADS, PATCH, SIZE, WIDTH, drawn
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training.optimizers import adamw
from pangu_jax.training.step import init_state, make_train_step
from pangu_jax.workloads import RunContext, Sums, Variables, Workload
from pangu_jax.workloads.vision.model import classifying
from pangu_jax.workloads.vision.model.pixels import centred
from pangu_jax.workloads.vision.model.plain import PlainConfig
from pangu_jax.workloads.vision.model.trunk import Stream
from tpu_npu_backends import selection

MODEL = PlainConfig(
    size=SIZE,
    patch=PATCH,
    d_model=WIDTH,
    layers=DEPTH,
    heads=HEADS,
    class_token=False,
    pooling="mean",
    norm="pooled",
    classes=CLASSES,
    unroll=DEPTH,
)


class Classifier(Workload):
    """The classes of pictures: the model's loss, and nothing of data."""

    name = "vision"

    def init(self, key):
        return Variables(MODEL.init(key))

    def logical_axes(self):
        return Variables(MODEL.axes())

    def dimensions(self):
        return MODEL.dimensions()

    def loss(self, variables, batch, keys, run):
        del keys
        values_BxUxV = MODEL.cut(centred(batch["image"]))
        places_BxU = jnp.broadcast_to(jnp.arange(MODEL.units), values_BxUxV.shape[:2])
        forward = MODEL.forward(run.placement, run.remat, run.dtype)
        logits_BxC = classifying.logits(forward, variables.params, Stream(values_BxUxV, places_BxU))
        log_p_BxC = jax.nn.log_softmax(logits_BxC)
        loss = -jnp.sum(jnp.take_along_axis(log_p_BxC, batch["label"][:, None], 1))
        return Sums(loss, jnp.float32(len(logits_BxC)), {})

    def batch_shapes(self, batch_size):
        pixels = jax.ShapeDtypeStruct((batch_size, SIZE, SIZE, 3), jnp.uint8)
        return {"image": pixels, "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32)}

    def train_source(self, batch_size, seed, shift=0):
        raise NotImplementedError  # `step` hands in one batch

    def validation_sources(self, batch_size):
        return {}

    def flops_per_step(self, batch_size):
        raise NotImplementedError  # the benchmark counts for all

    def tokens_per_step(self, batch_size):
        return batch_size


def step() -> Callable[[], float]:
    """A function that makes a step and gives its loss."""
    backend = selection.select("cpu")
    layout = Layout().on(len(backend.devices))
    mesh = make_mesh(layout, list(backend.devices))
    workload, optimizer = Classifier(), adamw(clip=0.0)
    run = RunContext(OneDevice(backend.native), "none", jnp.dtype("float32"))
    options = {"batch_size": BATCH, "seed": 0, "compiler_options": backend.compiler_options}
    train_step = make_train_step(workload, optimizer, run, layout, mesh, **options)
    state = init_state(workload, optimizer, mesh, 0)
    batch = dict(zip(("image", "label"), drawn(), strict=True))

    def advance() -> float:
        nonlocal state
        state, metrics = train_step(state, batch)
        return float(metrics["loss"])

    return advance
