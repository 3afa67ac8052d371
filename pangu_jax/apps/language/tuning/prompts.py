"""Soft prompts: vectors before the encoder's tokens, or keys and values before those of every layer."""

from dataclasses import dataclass

import gin
import jax
import jax.numpy as jnp

from pangu_jax.apps.language.tuning.methods import overlaid
from pangu_jax.errors import UserError
from pangu_jax.models.normalization import rms_norm
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model.architecture import Architecture
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

FIRST_WORD = 3  # before it come padding, the end and the unknown
TOWERS = EncoderDecoderConfig.towers  # all that a model may have
FREQUENT = 5000  # Lester et al. start from the words that are met most, which a vocabulary lists first


@gin.configurable
@dataclass(frozen=True)
class PromptTuning:
    """k vectors before the encoder's tokens learn, and the model stays (Lester et al., arXiv 2104.08691).

    They start as rows of frequent words, and end as rows below the words of `params["embedding"]`, with ids
    from vocab_size on.

    Args:
      length: k.
      reparametrised: while it learns, a vector p is p + W2 relu(W1 p): Residual Prompt Tuning (Razdaibiedina
        et al., arXiv 2305.03937), which takes the place of P-tuning's prompt encoder; an LSTM over the prompt
        needs a loop, and is folded away in the end like this one.
      tune_model: the model learns too, as in P-tuning (Liu et al., arXiv 2103.10385).
    """

    length: int = 20
    reparametrised: bool = False
    tune_model: bool = False

    pool = None
    from_below = True

    def __post_init__(self):
        if self.length < 1:
            raise UserError(f"PromptTuning.length = {self.length}: give at least 1")

    @property
    def prompt(self) -> int:
        return self.length

    def prepare(self, config: Architecture, params: Tree, key: jax.Array, classes: int) -> tuple[Tree, Tree]:
        del classes
        _require_untuned(config, params)
        which, inner = jax.random.split(key)
        prompt = {"vectors": params["embedding"][_frequent(config, which, self.length)]}
        if self.reparametrised:
            width = config.d_model
            prompt["up"] = jax.random.normal(inner, (width, width)) * width**-0.5
            prompt["down"] = jnp.zeros((width, width))
        return (params | {"prompt": prompt}, {}) if self.tune_model else ({"prompt": prompt}, params)

    def merge(self, config: Architecture, trainable: Tree, frozen: Tree) -> Tree:
        del config
        params = frozen | trainable
        prompt = params.pop("prompt")
        vectors_PxD = prompt["vectors"]
        if self.reparametrised:
            vectors_PxD += jax.nn.relu(vectors_PxD @ prompt["up"]) @ prompt["down"]
        return params | {"embedding": jnp.concatenate([params["embedding"], vectors_PxD])}


@gin.configurable
@dataclass(frozen=True)
class PrefixTuning:
    """Keys and values that every query of self-attention sees learn, in each layer; the model stays.

    P-tuning v2 (Liu et al., arXiv 2110.07602). They start as the layer's own keys and values of frequent
    words. They end as `params[tower]["attention"]["prefix"]` [layers, heads, 2, length, kv].

    Args:
      length: of the prefix.
      towers: which have one; all of the model when None.
    """

    length: int = 16
    towers: tuple[str, ...] | None = None

    pool = None
    from_below = False
    prompt = 0

    def __post_init__(self):
        if self.length < 1:
            raise UserError(f"PrefixTuning.length = {self.length}: give at least 1")
        if self.towers is not None and (not self.towers or set(self.towers) - set(TOWERS)):
            raise UserError(f"PrefixTuning.towers = {self.towers}: name some of {', '.join(TOWERS)}")

    def prepare(self, config: Architecture, params: Tree, key: jax.Array, classes: int) -> tuple[Tree, Tree]:
        del classes
        if config.latent:
            raise UserError(
                "@PrefixTuning() has no place in latent attention, whose keys are latents: take @LoRA()"
            )
        words_PxD = params["embedding"][_frequent(config, key, self.length)]

        def prefix(tower: Tree) -> jax.Array:
            def layer(scale_D: jax.Array, key_value_DxHx2xK: jax.Array) -> jax.Array:
                normed_PxD = rms_norm(words_PxD, scale_D, config.epsilon)
                return jnp.einsum("pd,dhck->hcpk", normed_PxD, key_value_DxHx2xK)

            own = tower["attention"]
            key_value = own["key_value"] if "key_value" in own else own["qkv"][:, :, :, 1:]
            return jax.vmap(layer)(tower["attention_norm"]["scale"], key_value)

        if missing := set(self.towers or ()) - set(config.towers):
            raise UserError(f"PrefixTuning.towers names {', '.join(missing)}, which this model has not")
        towers = self.towers or config.towers
        return {name: {"attention": {"prefix": prefix(params[name])}} for name in towers}, params

    def merge(self, config: Architecture, trainable: Tree, frozen: Tree) -> Tree:
        del config
        return overlaid(frozen, trainable)


def _frequent(config: Architecture, key: jax.Array, count: int) -> jax.Array:
    return jax.random.randint(key, (count,), FIRST_WORD, min(FREQUENT, config.vocab_size))


def _require_untuned(config: Architecture, params: Tree) -> None:
    if len(params["embedding"]) > config.vocab_size:
        raise UserError(
            "this model has a soft prompt already, and a second one would have its ids; tune its base instead"
        )
