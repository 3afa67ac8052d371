"""What a method lets learn: all weights, or a classifier on top. Soft prompts and LoRA have their own files.

A method splits a model into a trainable tree, which alone has optimizer state, and a frozen one; `merge` puts
complete parameters together again, in which everything the method adds has its place (see docs/tuning.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gin
import jax
import jax.numpy as jnp

from pangu_jax.apps.language.decoding.trie_forward import Pool
from pangu_jax.apps.language.tuning.examples import Labelled, numbered, with_prompt
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model.architecture import Architecture


class Method(Protocol):
    """A way of tuning; a frozen dataclass, so that programs compiled for it are found again.

    Attributes:
      pool: what a classifier looks at; None where candidates are scored by their tokens.
      from_below: something that learns enters below the first layer, so the backward pass must reach it.
      prompt: vectors put before the encoder's tokens.
    """

    pool: Pool | None
    from_below: bool
    prompt: int

    def prepare(self, config: Architecture, params: Tree, key: jax.Array, classes: int) -> tuple[Tree, Tree]:
        """(trainable, frozen) trees at the start; `classes` is how many candidates an example has."""

    def merge(self, config: Architecture, trainable: Tree, frozen: Tree) -> Tree:
        """Complete parameters, for the forward pass, decoding and scoring as they are."""


@gin.configurable
@dataclass(frozen=True)
class FineTuning:
    """All weights learn, and candidates are scored by their tokens.

    With a pattern and a verbaliser in the data this is PET (Schick & Schütze, arXiv 2001.07676), with an
    entailment pattern EFL (Wang et al., arXiv 2104.14690): a method does not know patterns.
    """

    pool = None
    from_below = False
    prompt = 0

    def prepare(self, config: Architecture, params: Tree, key: jax.Array, classes: int) -> tuple[Tree, Tree]:
        del config, key, classes
        return params, {}

    def merge(self, config: Architecture, trainable: Tree, frozen: Tree) -> Tree:
        del config, frozen
        return trainable


@gin.configurable
@dataclass(frozen=True)
class Head:
    """A fresh linear classifier on pooled features; candidates count, their tokens do not.

    Args:
      pool: "encoder" where the text is in the encoder: the mean of its output; "decoder_mean" or
        "decoder_last" where it is the decoder's prefix.
      alone: the classifier alone learns, on features that stay as they are.
    """

    pool: Pool = "encoder"
    alone: bool = False

    from_below = False
    prompt = 0

    def prepare(self, config: Architecture, params: Tree, key: jax.Array, classes: int) -> tuple[Tree, Tree]:
        kernel_DxC = jax.random.normal(key, (config.d_model, classes)) * config.d_model**-0.5
        fresh = {"classifier": {"kernel": kernel_DxC, "bias": jnp.zeros(classes)}}
        return (fresh, params) if self.alone else (params | fresh, {})

    def merge(self, config: Architecture, trainable: Tree, frozen: Tree) -> Tree:
        del config
        return frozen | trainable


def asked_by(method: Method, config: Architecture, examples: Sequence[Labelled] | None) -> list[Labelled]:
    """Examples as a method asks for them: with its prompt, or for a classifier with numbers for words."""
    found = with_prompt(config, examples or (), method.prompt)
    return numbered(found) if method.pool else found


def overlaid(base: Tree, over: Tree) -> Tree:
    """A nested dict with the entries of another put in, or in place of its own; neither is changed."""
    out = dict(base)
    for name, value in over.items():
        inner = out.get(name)
        out[name] = (
            overlaid(inner if isinstance(inner, dict) else {}, value) if isinstance(value, dict) else value
        )
    return out


def size(trainable: Any) -> int:
    """Numbers in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(trainable))
