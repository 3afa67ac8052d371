"""Of the answers to the windows of a long example the one of the highest log p per token counts."""

from types import SimpleNamespace

import numpy as np
import pytest

from data_pipelines.text.benchmarks import Example, Rendered
from data_pipelines.text.vocabulary import SpecialTokens
from pangu_jax.apps.language.benchmarks import free_text
from pangu_jax.apps.language.decoding.queries import Generated
from pangu_jax.apps.language.decoding.settings import Beam, Greedy


class Words:
    special = SpecialTokens({}, -1, 0)


def written(text, score, finish="end", rank_score=None):
    return Generated(np.array([ord(letter) for letter in text], np.int32), score, finish, rank_score)


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        (written("甲", -4.0), written("乙乙乙", -6.0), "乙乙乙"),  # -2 and -1.5 per token
        (written("甲", -2.0), written("乙乙乙", -6.0), "甲"),
        (written("甲", -3.2), written("乙乙", -3.1, "cut"), "乙乙"),  # -1.6 and -1.55: a cut text has no end
        (written("甲甲", -3.0), written("乙乙", -3.1, "cut"), "甲甲"),
        (written("甲", -4.0, rank_score=-0.1), written("乙乙乙", -6.0, rank_score=-9.0), "乙乙乙"),
    ],
)
def test_the_likeliest_answer_per_token(monkeypatch, first, second, wanted):
    asks = []

    def generator(forward, params, vocabulary):
        return SimpleNamespace(generate=lambda *arguments: asks.append(arguments) or [first, second])

    monkeypatch.setattr(free_text, "Generator", SimpleNamespace(of=generator))
    loaded = SimpleNamespace(
        forward=None,
        params=None,
        encode_inputs=lambda text: np.arange(len(text)),
        encode_target=lambda text: np.zeros(0, np.int32),
        vocabulary=Words(),
        decoder_alone=False,
        decode=lambda tokens: "".join(map(chr, tokens)),
    )
    pattern = SimpleNamespace(render=lambda part: Rendered("a", part.fields["text"], "", (), None, ""))
    settings = Greedy() if first.rank_score is None else Beam()
    found = free_text.answer(loaded, pattern, [Example("a", {"text": "长" * 12}, None)], settings, 4, 8, 4)
    assert found.texts == {"a": wanted} and found.cut == 1
    assert len(asks[0][0]) == 2
