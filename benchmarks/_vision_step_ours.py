"""A plain ViT's training step by this library, as `pangu train` runs it, for benchmarks/vision_step.py."""

from collections.abc import Callable

import jax.numpy as jnp

from benchmarks.vision_step import BATCH, CLASSES, DEPTH, HEADS, PATCH, SIZE, WIDTH, drawn
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training.optimizers import adamw
from pangu_jax.training.step import init_state, make_train_step
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision import PictureClassifier
from pangu_jax.workloads.vision.bases import FreshTrunk
from pangu_jax.workloads.vision.data import NoPictures
from pangu_jax.workloads.vision.model.plain import PlainConfig
from tpu_npu_backends import selection

MODEL = PlainConfig(
    size=SIZE,
    patch=PATCH,
    d_model=WIDTH,
    layers=DEPTH,
    heads=HEADS,
    class_token=False,
    pooling="mean",
    norm="none",  # the classifier's own is of what was pooled
    unroll=DEPTH,
)


def classifier() -> PictureClassifier:
    """As `pangu tune` makes it, of a trunk that has learnt nothing."""
    pictures = NoPictures(SIZE, 3, 1, False, tuple(map(str, range(CLASSES))))
    return PictureClassifier(FreshTrunk(MODEL), pictures)


def step() -> Callable[[], float]:
    """A function that makes a step and gives its loss."""
    backend = selection.select("cpu")
    layout = Layout().on(len(backend.devices))
    mesh = make_mesh(layout, list(backend.devices))
    workload, optimizer = classifier(), adamw(clip=0.0)
    run = RunContext(OneDevice(backend.native), "none", jnp.dtype("float32"))
    options = {"batch_size": BATCH, "seed": 0, "compiler_options": backend.compiler_options}
    train_step = make_train_step(workload, optimizer, run, layout, mesh, **options)
    state = init_state(workload, optimizer, mesh, 0)
    pixels_BxSxSxC, label_B = drawn()
    numbers = jnp.arange(BATCH, dtype=jnp.int32)
    batch = {"image": pixels_BxSxSxC[:, None], "label": label_B, "weight": jnp.ones(BATCH)}
    batch |= {"place": numbers, "task_id": 0 * numbers}

    def advance() -> float:
        nonlocal state
        state, metrics = train_step(state, batch)
        return float(metrics["loss"])

    return advance
