"""A training step of two towers by this library, as `pangu train` runs it: of image_text_peers.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.image_text_peers import (
    BATCH,
    BETAS,
    DECAY,
    DEPTH,
    EMBEDDING,
    HEADS,
    HIDDEN,
    IDS,
    LEARNING_RATE,
    LENGTH,
    PATCH,
    SIZE,
    WIDTH,
    drawn,
)
from data_pipelines.pairs.vocabulary import CharacterVocabulary
from pangu_jax.apps.multimodal.conversion import hugging_face, importing
from pangu_jax.apps.multimodal.conversion.chinese_clip import CHINESE_CLIP
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training.optimizers import adamw
from pangu_jax.training.schedules import constant_schedule
from pangu_jax.training.step import init_state, make_train_step
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.multimodal import ImageTextModel
from pangu_jax.workloads.multimodal.data import NoPairs
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from pangu_jax.workloads.vision.model.plain import PlainConfig
from tpu_npu_backends import selection

TOWER = {"d_model": WIDTH, "layers": DEPTH, "heads": HEADS, "ratio": HIDDEN / WIDTH, "unroll": DEPTH}


def workload() -> ImageTextModel:
    """Two towers as Chinese-CLIP has them."""
    mean, deviation = CHINESE_CLIP.pixels
    image = PlainConfig(
        size=SIZE,
        patch=PATCH,
        quick=True,
        epsilon=1e-5,
        mean=mean,
        deviation=deviation,
        **CHINESE_CLIP.image.has,
        **TOWER,
    )
    text = TextTransformerConfig(
        vocab_size=IDS, length=LENGTH, segments=2, epsilon=1e-12, **CHINESE_CLIP.text.has, **TOWER
    )
    return ImageTextModel(
        image, text, NoPairs(SIZE, 3, LENGTH, CharacterVocabulary("")), EMBEDDING, contrast="clip"
    )


def step(weights: str = "") -> Callable[[], float]:
    """A function that makes a step and gives its loss.

    Args:
      weights: a folder of a ChineseCLIPModel to begin with; fresh ones unless given.
    """
    train_step, state = begun(workload(), betas=BETAS, rate=LEARNING_RATE, decay=DECAY)
    if weights:
        params = importing.parameters(hugging_face.examine(Path(weights)))
        state = state._replace(params=jax.tree.map(jax.device_put, params, shardings(state.params)))
    return stepping(train_step, state, *drawn())


def begun(model: ImageTextModel, *, betas: tuple[float, float], rate: float, decay: float) -> tuple[Any, Any]:
    """A model's step of AdamW on this process' CPU, and its first state."""
    backend = selection.select("cpu")
    layout = Layout().on(len(backend.devices))
    mesh = make_mesh(layout, list(backend.devices))
    optimizer = adamw(constant_schedule(rate), *betas, weight_decay=decay, clip=0.0)
    run = RunContext(OneDevice(backend.native), "none", jnp.dtype("float32"))
    options = {"batch_size": BATCH, "seed": 0, "compiler_options": backend.compiler_options}
    train_step = make_train_step(model, optimizer, run, layout, mesh, **options)
    return train_step, init_state(model, optimizer, mesh, 0)


def stepping(train_step: Any, state: Any, pixels_BxSxSxC: Any, tokens_BxT: Any) -> Callable[[], float]:
    """A function that makes a step on one batch, and gives its loss."""
    numbers = jnp.arange(BATCH, dtype=jnp.int32)
    batch = {"image": pixels_BxSxSxC[:, None], "tokens": tokens_BxT, "weight": jnp.ones(BATCH)}
    batch |= {"picture": numbers, "text": numbers, "task_id": 0 * numbers}

    def advance() -> float:
        nonlocal state
        state, metrics = train_step(state, batch)
        return float(metrics["loss"])

    return advance


def shardings(params: Any) -> Any:
    """Where each array is."""
    return jax.tree.map(lambda leaf: leaf.sharding, params)
