"""What a report shows of a language model: the likeliest text, a drawn one, and what the data have there."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from data_pipelines.text.vocabulary import SpecialTokens
from pangu_jax.apps.language.decoding import samples
from pangu_jax.apps.language.decoding.settings import Beam, Sampling
from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.language.workload import LanguageModel
from tests.apps.language.decoding.test_decoding import CONFIG, params

__all__ = ["params"]  # a fixture


def decode(tokens):
    return "".join(chr(0x4E00 + int(token)) for token in tokens)


class Held:
    """Data of one task: two windows of a prompt of ten tokens and a reference of five."""

    encoder_length, decoder_length = 10, 5
    vocabulary = SimpleNamespace(decode=decode, special=SpecialTokens({}, -1, 0), size=40)

    def validation_sources(self, count):
        rng = np.random.default_rng(0)
        batch = {
            "encoder_input_tokens": rng.integers(3, 38, (count, 10)).astype(np.int32),
            "decoder_target_tokens": rng.integers(3, 38, (count, 5)).astype(np.int32),
        }
        ones = {name.replace("input_tokens", "segment_ids"): np.ones_like(v) for name, v in batch.items()}
        batch |= {name.replace("target_tokens", "segment_ids"): v for name, v in ones.items()}
        return {"prefix": SimpleNamespace(batch=lambda step: batch)}


def shown(params, drawing=None):
    workload = LanguageModel(CONFIG, Held(), drawing)
    return samples.exhibits(workload, Variables(params), RunContext(OneDevice()), per_task=2)


def test_drawn_texts_come_beside_the_likeliest_and_the_reference(params):
    texts = shown(params)
    assert [text.task for text in texts] == ["prefix", "prefix"]
    for text in texts:
        assert len(text.prompt) == 10 and len(text.reference) == 5 and text.output and text.drawn
        assert text.drawn != text.output
        triples = list(zip(text.drawn, text.drawn[1:], text.drawn[2:], strict=False))
        assert len(set(triples)) == len(triples), "no three tokens twice, by default"
    assert shown(params) == texts, "the same run draws the same"


def test_a_recipe_says_how_they_are_drawn(params):
    (likeliest, _), (text, _) = shown(params, Sampling(top_k=1)), shown(params, Sampling(no_repeat_ngram=2))
    assert likeliest.drawn == likeliest.output == text.output != text.drawn
    pairs = list(itertools.pairwise(text.drawn))
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("drawing", [Beam(), 0.8, "sampling"])
def test_what_draws_nothing_is_refused_before_the_run(drawing):
    with pytest.raises(UserError, match=r"LanguageModel.samples = .*give @Sampling\(\)"):
        LanguageModel(CONFIG, Held(), drawing)
