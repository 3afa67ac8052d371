"""The model's promises: packed examples do not see each other, and no way of running it changes a number."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.language.model import architecture, blocks
from pangu_jax.workloads.language.model.blocks import LayerInputs
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.model.forward import Forward

CONFIG = EncoderDecoderConfig(
    vocab_size=50, d_model=16, d_ff=24, heads=2, encoder_layers=2, decoder_layers=2, loss_chunks=2
)


def packed(rng, lengths, encoder_length, decoder_length):
    """One window holding examples of the given (encoder, decoder) lengths, one after the other."""
    batch = {}
    for tower, length in (("encoder", encoder_length), ("decoder", decoder_length)):
        segments, positions = np.zeros((1, length), np.int32), np.zeros((1, length), np.int32)
        at = 0
        for number, sizes in enumerate(lengths, start=1):
            size = sizes[0] if tower == "encoder" else sizes[1]
            segments[0, at : at + size], positions[0, at : at + size] = number, np.arange(size)
            at += size
        batch[f"{tower}_segment_ids"], batch[f"{tower}_positions"] = segments, positions
        batch[f"{tower}_input_tokens"] = rng.integers(3, 50, (1, length)).astype(np.int32) * (segments > 0)
    batch["decoder_target_tokens"] = rng.integers(3, 50, (1, decoder_length)).astype(np.int32)
    batch["decoder_loss_weights"] = (batch["decoder_segment_ids"] > 0).astype(np.float32)
    return batch


def unpacked(batch, number):
    """The example with that segment number, alone in a window of just its size."""
    alone = {}
    for tower in ("encoder", "decoder"):
        mine = batch[f"{tower}_segment_ids"][0] == number
        for name, feature in batch.items():
            if name.startswith(tower):
                alone[name] = feature[:, mine]
        alone[f"{tower}_segment_ids"] = np.ones_like(alone[f"{tower}_segment_ids"])
    return alone


@pytest.mark.parametrize("position", ["rotary", "relative"])
def test_packed_examples_do_not_see_each_other(position):
    config = dataclasses.replace(CONFIG, position=position)
    forward, params = Forward(config), architecture.init(config, jax.random.key(0))
    batch = packed(np.random.default_rng(0), [(5, 3), (6, 4)], encoder_length=13, decoder_length=9)
    together = jax.jit(forward.loss)(params, batch)
    alone = [forward.loss(params, unpacked(batch, number)) for number in (1, 2)]
    np.testing.assert_allclose(together.total, sum(loss.total for loss in alone), rtol=1e-5)
    joined = jnp.concatenate([loss.token_loss_BxT for loss in alone], axis=1)
    np.testing.assert_allclose(together.token_loss_BxT[:, :7], joined, rtol=1e-4)


def test_the_decoder_does_not_look_ahead_and_does_read_the_encoder():
    forward, params = Forward(CONFIG), architecture.init(CONFIG, jax.random.key(0))
    batch = packed(np.random.default_rng(0), [(6, 6)], encoder_length=6, decoder_length=6)
    loss = jax.jit(lambda batch: forward.loss(params, batch).token_loss_BxT)
    later = dict(batch, decoder_input_tokens=batch["decoder_input_tokens"].copy())
    later["decoder_input_tokens"][0, 4] += 1
    before, after = loss(batch)[0], loss(later)[0]
    np.testing.assert_array_equal(before[:4], after[:4])
    assert abs(before[4] - after[4]) > 1e-4
    source = dict(batch, encoder_input_tokens=batch["encoder_input_tokens"][:, ::-1])
    assert np.all(np.abs(loss(source)[0] - before) > 1e-6)


@pytest.mark.parametrize(
    "change",
    [{"remat": "dots"}, {"remat": "full"}, {"unroll": 2}, {"loss_chunks": 3}],
    ids=str,
)
def test_how_it_runs_changes_no_number(change):
    remat = change.pop("remat", "none")
    params = architecture.init(CONFIG, jax.random.key(0))
    batch = packed(np.random.default_rng(0), [(6, 6)], encoder_length=7, decoder_length=8)

    def gradient(config, remat):
        forward = Forward(config, remat=remat)
        return jax.jit(jax.value_and_grad(lambda p: forward.loss(p, batch).total))(params)

    expected, actual = gradient(CONFIG, "none"), gradient(dataclasses.replace(CONFIG, **change), remat)
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected):
        other = dict(jax.tree_util.tree_leaves_with_path(actual))[path]
        assert np.linalg.norm(leaf - other) <= 1e-5 * np.linalg.norm(leaf), path


def test_dropout_draws_anew_for_each_key_and_leaves_the_mean():
    config = dataclasses.replace(CONFIG, dropout=0.3)
    params = architecture.init(config, jax.random.key(0))
    batch = packed(np.random.default_rng(0), [(6, 6)], encoder_length=6, decoder_length=6)
    loss = jax.jit(lambda seed: Forward(config).loss(params, batch, jax.random.key(seed)[None]).total)
    first, again, other = loss(1), loss(1), loss(2)
    assert first == again != other


def test_rare_dropout_is_as_rare_in_bfloat16():
    """A rate that took the activations' type would keep 0.999 as 1: nothing would ever be dropped."""
    config = dataclasses.replace(CONFIG, dropout=0.001)
    inputs = LayerInputs(2048, jax.random.split(jax.random.key(0), 2), rotation=None, attend=None)
    ones = jnp.ones((2, 2048, CONFIG.d_model), jnp.bfloat16)
    kept = blocks.dropped(config, OneDevice(), inputs, ones, jnp.int32(0)) != 0
    assert 30 < jnp.sum(~kept) < 110  # of 65,536


def test_bfloat16_follows_float32():
    params = architecture.init(CONFIG, jax.random.key(0))
    batch = packed(np.random.default_rng(0), [(6, 6)], encoder_length=6, decoder_length=6)
    exact = Forward(CONFIG).loss(params, batch).total
    rounded = Forward(CONFIG, dtype=jnp.bfloat16).loss(params, batch).total
    assert 0 < abs(rounded - exact) < 0.02 * exact


def test_every_parameter_is_annotated_and_stacked():
    for config in (CONFIG, dataclasses.replace(CONFIG, position="relative", tied_head=False, gated=False)):
        params = jax.eval_shape(lambda config=config: architecture.init(config, jax.random.key(0)))
        axes = architecture.axes(config)
        jax.tree.map(lambda leaf, names: leaf.ndim == len(names) or pytest.fail(str(names)), params, axes)
        assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves([params["encoder"], params["decoder"]]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": 3}, "not divisible by heads 3"),
        ({"head_dim": 5}, "even head_dim"),
        ({"activation": "tanh"}, "one of relu, gelu, gelu_exact"),
        ({"decoder_layers": 0}, "decoder_layers must be at least 1"),
    ],
)
def test_a_shape_that_contradicts_itself_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(CONFIG, **change)
