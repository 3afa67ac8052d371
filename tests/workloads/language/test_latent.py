"""A decoder with latent attention against transformers (DeepseekV3ForCausalLM): golden numbers, mistakes."""

import dataclasses

import jax
import numpy as np
import pytest

from pangu_jax.models import latent_attention
from pangu_jax.workloads.language.model import architecture, prediction
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from pangu_jax.workloads.language.model.forward import Forward
from tests.workloads.language.published_latents import CONFIGS, GOLDEN, WIDTHS, tree, windows


def furthest(actual, expected) -> float:
    """The largest relative difference of two arrays, or trees of them."""
    differences = jax.tree.map(
        lambda a, b: float(np.linalg.norm(a - b) / np.linalg.norm(b)), actual, expected
    )
    return max(jax.tree.leaves(differences))


def logits(config, params):
    """Of the next token, and of the one after that where the model has a module for it."""
    forward, batch = Forward(config), windows()

    def of(params):
        hidden = forward.decode(params, batch)
        found = [forward.logits(params, hidden)]
        if config.predictions:
            further = prediction.one_further(batch)
            (hidden,), _ = prediction.hidden_states(forward, params, (hidden,), None, further)
            found.append(forward.logits(params, hidden))
        return found

    return jax.jit(of)(params)


@pytest.mark.parametrize("kind", CONFIGS)
def test_logits_and_gradients_of_transformers(kind):
    config, params = CONFIGS[kind], tree(kind, "tensor")
    names = ["logits", "next_logits"][: 1 + config.predictions]
    assert furthest(logits(config, params), [GOLDEN[f"{kind}/{name}"] for name in names]) < 1e-5
    loss = lambda params: Forward(config).loss(params, windows()).total  # noqa: E731
    total, gradients = jax.jit(jax.value_and_grad(loss))(params)
    assert total == pytest.approx(float(GOLDEN[f"{kind}/loss"]), rel=1e-5)
    assert furthest(gradients, tree(kind, "gradient")) < 1e-4


MISTAKES = {
    "pairs turned in halves": {"latent": dataclasses.replace(WIDTHS, interleaved=False)},
    "the model's eps in the latents' norms": {"latent": dataclasses.replace(WIDTHS, epsilon=1e-5)},
    "the latents' eps in the model's norms": {"epsilon": 1e-6},
    "the usual theta": {"rope_theta": 1e4},
    "no norm of latents": {},
    "scores by the width of values": {},
    "hidden states before the token's vector": {},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_single_mistake_is_seen(mistake, monkeypatch):
    config, params = dataclasses.replace(CONFIGS["ultra"], **MISTAKES[mistake]), tree("ultra", "tensor")
    if mistake == "no norm of latents":
        monkeypatch.setattr(latent_attention, "rms_norm", lambda x, scale, epsilon: x)
    if mistake == "scores by the width of values":
        monkeypatch.setattr(DecoderConfig, "scale", property(lambda config: config.latent.value**-0.5))
    if mistake == "hidden states before the token's vector":
        params["prediction"]["join"] = params["prediction"]["join"][:, ::-1]
    assert furthest(logits(config, params), [GOLDEN["ultra/logits"], GOLDEN["ultra/next_logits"]]) > 3e-5


def test_parameters_are_annotated_and_the_module_is_no_layer_of_a_pipeline():
    config = CONFIGS["ultra"]
    params = jax.eval_shape(lambda: architecture.init(config, jax.random.key(0)))
    axes = architecture.axes(config)
    jax.tree.map(lambda leaf, names: leaf.ndim == len(names) or pytest.fail(str(names)), params, axes)
    first = lambda tree: {names[0] for names in jax.tree.leaves(tree, is_leaf=lambda x: type(x) is tuple)}  # noqa: E731
    assert first(axes["decoder"]) == {"layers"} and first(axes["prediction"]["block"]) == {"blocks"}
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, tree("ultra", "tensor"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"biases": True}, "no biases"),
        ({"head_dim": 8}, "widths of its own"),
        ({"predictions": 2}, "at most"),
    ],
)
def test_what_latent_attention_does_not_have_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(CONFIGS["ultra"], **change)
