"""Features of whole pictures, one row each: what probes and neighbours look at, and their control."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.workloads.vision.model.trunk import Features

STAGES = 3  # of a trunk's last stages, unless said
RAW = 8  # pixels of the side that raw pixels are shrunk to


def pooled(features: Features, stages: int = STAGES) -> jax.Array:
    """fp32 [B, F]: the means over units of the last stages, side by side.

    Args:
      features: of each stage, [B, U, F_i].
      stages: so many of the last; all where there are fewer.
    """
    return jnp.concatenate([jnp.mean(of.astype(jnp.float32), axis=1) for of in features[-stages:]], axis=-1)


def side_by_side(features: Features, stages: int = STAGES) -> jax.Array:
    """fp32 [B, U F]: all units of the last stages, one after the other: where things are tells classes apart
    as well as what they are.

    Args:
      features: of each stage, [B, U, F_i].
      stages: so many of the last; all where there are fewer.
    """
    x_BxUxF = jnp.concatenate([of.astype(jnp.float32) for of in features[-stages:]], axis=-1)
    return x_BxUxF.reshape(len(x_BxUxF), -1)


def raw_pixels(pixels_BxSxSxC: jax.Array) -> jax.Array:
    """fp32 [B, 8 * 8 * C]: means over 8 x 8 equal areas, what every figure is held against."""
    shrink_8xS = jnp.asarray(_areas(pixels_BxSxSxC.shape[1]))
    shrunk = jnp.einsum("rh,bhwc,sw->brsc", shrink_8xS, pixels_BxSxSxC.astype(jnp.float32), shrink_8xS)
    return shrunk.reshape(len(pixels_BxSxSxC), -1)


@functools.cache
def _areas(size: int) -> np.ndarray:
    """[8, size], rows adding up to 1: how much of each pixel lies in each of eight equal parts."""
    edges = np.arange(RAW + 1) * (size / RAW)
    low = np.maximum(edges[:-1, None], np.arange(size))
    high = np.minimum(edges[1:, None], np.arange(size) + 1)
    return (np.maximum(high - low, 0) * (RAW / size)).astype(np.float32)
