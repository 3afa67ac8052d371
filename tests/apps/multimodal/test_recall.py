"""Recall both ways with intervals over pictures."""

import json

import numpy as np
import pytest

from pangu_jax.apps.multimodal import recall
from pangu_jax.errors import UserError
from pangu_jax.workloads.multimodal import ranks


def _unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_captions_of_a_picture_are_drawn_with_it():
    """Five captions of a photo that all say the same are worth one."""
    rng = np.random.default_rng(0)
    picture, captions = _unit(rng.standard_normal((60, 16))), 5
    alone = _unit(picture + 0.5 * rng.standard_normal((60, 16)))
    links = np.stack([np.arange(60)] * 2, 1)
    once = recall.evaluate(alone, picture, links, resamples=300)
    often = recall.evaluate(
        np.repeat(alone, captions, 0),
        picture,
        np.stack([np.arange(300), np.arange(300) // captions], 1),
        resamples=300,
    )
    way = ranks.WAYS[0]
    for name in ("recall_at_1", "recall_at_5", "median_rank"):
        assert once.values[name][way] == often.values[name][way]
        assert once.interval_95[name][way] == often.interval_95[name][way]
        for scores in (once, often):
            for both in ranks.WAYS:
                low, high = scores.interval_95[name][both]
                assert low <= scores.values[name][both] <= high
    assert 20 < once.values["recall_at_1"][way] < 95 and np.ptp(once.interval_95["recall_at_1"][way]) > 5
    assert (often.texts, often.pictures) == (300, 60)
    assert often.chance["recall_at_1"] == pytest.approx(
        dict(zip(ranks.WAYS, (100 / 60, 100 / 60), strict=True))
    )


def test_pictures_without_a_text_are_in_the_way_but_not_asked():
    picture, text = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)[:2]
    scores = recall.evaluate(text, picture, [[0, 1], [0, 0], [0, 0], [1, 2]], ks=(1, 3), resamples=10)
    assert (scores.texts, scores.pictures) == (2, 3)
    assert scores.values["recall_at_1"] == {"text_to_image": 50.0, "image_to_text": 100 / 3}
    shown = json.loads(json.dumps(scores.as_dict()))
    assert shown["recall_at_3"]["text_to_image"] == 50.0 and shown["median_rank"]["text_to_image"] == 2.5
    assert len(shown["interval_95"]["median_rank"]["image_to_text"]) == 2


def test_without_a_right_pair_there_is_nothing_to_find():
    with pytest.raises(UserError, match="nothing to be found"):
        recall.evaluate(np.eye(2), np.eye(2), np.zeros((0, 2), int))
