"""The forms that a language model may have, and what each gives: parameters and their logical axes."""

import functools
from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
from flax import nnx

from pangu_jax.models.experts import ExpertsConfig
from pangu_jax.models.latent_attention import LatentWidths
from pangu_jax.models.parameters import Tree, arrays, logical_axes
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

Architecture: TypeAlias = EncoderDecoderConfig | DecoderConfig
NESTED = {"experts": ExpertsConfig, "latent": LatentWidths}


def init(config: Architecture, key: jax.Array) -> Tree:
    """Fresh fp32 parameters, a nested dict; a pure function of the key, so it can be jitted and sharded."""
    return arrays(config.module(nnx.Rngs(params=key)))


@functools.cache
def axes(config: Architecture) -> Tree:
    """Logical axes of every parameter, in the structure of `init`."""
    return logical_axes(lambda: config.module(nnx.Rngs(0)))


def of_fields(fields: Mapping[str, Any]) -> Architecture:
    """The configuration of which these are the fields, as a manifest keeps them."""
    if "encoder_layers" in fields:
        return EncoderDecoderConfig(**fields)
    nested: Any = {name: kind(**fields[name]) for name, kind in NESTED.items() if fields.get(name)}
    return DecoderConfig(**{**fields, **nested})
