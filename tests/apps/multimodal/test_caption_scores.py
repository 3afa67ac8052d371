"""CIDEr, BLEU-4 and ROUGE-L of captions, against COCO's own code and by hand."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pangu_jax.apps.multimodal import caption_scores
from pangu_jax.apps.multimodal.cider import cider
from pangu_jax.errors import UserError

GOLDEN = json.loads(Path(__file__).with_name("cider_golden.json").read_text("utf-8"))
TEXTS = st.text("红色的圆在左边", min_size=1, max_size=6)


@pytest.mark.parametrize("golden", GOLDEN)
def test_they_are_those_of_coco(golden):
    references = [[list(text) for text in texts] for texts in golden["references"]]
    assert cider([list(text) for text in golden["written"]], references) == pytest.approx(golden["cider"])
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    found = caption_scores.evaluate(golden["written"], golden["references"], resamples=20)
    assert found.cider.value == pytest.approx(10 * sum(golden["cider"]) * 10 / len(golden["cider"]))
    assert found.rouge_l.value == pytest.approx(100 * sum(golden["rouge_l"]) / len(golden["rouge_l"]))
    assert found.bleu_4.value == pytest.approx(100 * golden["bleu_4"], abs=0.01)  # COCO's has an epsilon
    for score in found[:3]:
        assert score.low <= score.value <= score.high and score.low < score.high + (score.value == 0)


def test_cider_by_hand():
    """Two pictures: 圆 is in the references of both and weighs nothing, 红 and 方 weigh log 2."""
    references = [[["红", "圆"]], [["方", "圆"]]]
    # 红圆 against itself: unigrams 1, bigrams 1, nothing longer: 10 x 2 / 4. 方: unigrams 1, a token less.
    found = cider([["红", "圆"], ["方"]], references)
    assert found.tolist() == pytest.approx([5.0, 10 / 4 * math.exp(-1 / 72)])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(TEXTS, min_size=1, max_size=3), min_size=2, max_size=5))
def test_nothing_beats_a_reference_and_nothing_shared_is_nothing(references):
    tokens = [[list(text) for text in texts] for texts in references]
    assert (cider([[] for _ in tokens], tokens) == 0).all()
    assert (cider([["x", "y"] for _ in tokens], tokens) == 0).all()
    best = cider([texts[0] for texts in tokens], [texts[:1] for texts in tokens])
    found = cider([texts[0] for texts in tokens], tokens)
    assert (best <= 10 + 1e-9).all() and (found <= 10 + 1e-9).all() and (found >= 0).all()


def test_short_captions_equal_to_their_references_score_the_whole():
    """NLTK's corpus_bleu gives 93 here."""
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    texts = ["红色的圆在左边", "红圆", "一只 狗", "两只猫在草地上跑"]
    found = caption_scores.evaluate(texts, [[text] for text in texts], resamples=20)
    assert (found.bleu_4.value, found.rouge_l.value) == pytest.approx((100, 100))
    shown = found.as_dict()
    assert (shown["segmentation"], shown["pictures"], shown["references"]) == ("characters", 4, 4)
    assert shown["interval_95"]["bleu_4"] == pytest.approx([100, 100])
    empty = caption_scores.evaluate([""] * 4, [[text] for text in texts], resamples=20)
    assert (empty.bleu_4.value, empty.rouge_l.value, empty.cider.value, empty.empty) == (0, 0, 0, 4)


def test_words_are_not_characters():
    assert caption_scores.words("红色的圆 在左边") == ["红色", "的", "圆", "在", "左边"]
    assert caption_scores.characters("红 圆\n a") == ["红", "圆", "a"]


@pytest.mark.parametrize(
    ("written", "references", "segmentation", "message"),
    [
        (["圆"], [["圆"]], "characters", "CIDEr of 1 picture is not defined"),
        (["圆"], [["圆"], ["方"]], "characters", "1 captions for references of 2"),
        (["圆", "方"], [["圆"], []], "characters", "picture 2 has no reference"),
        (["圆", "方"], [["圆", " "], ["方"]], "characters", "picture 1 has an empty reference"),
        (["圆", "方"], [["圆"], ["方"]], "character", "did you mean 'characters'"),
    ],
)
def test_what_cannot_be_scored_is_refused(written, references, segmentation, message):
    with pytest.raises(UserError, match=message):
        caption_scores.evaluate(written, references, segmentation)
