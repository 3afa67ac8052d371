"""The quality classifier: it learns, its control does not, and its weights are plain numbers."""

import json
import random

import numpy as np
import polars as pl
import pytest

from data_pipelines.corpus.cleaning import Quality, train_quality
from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.quality import Features, QualityClassifier, score
from data_pipelines.errors import DataError

GOOD = ["研究", "认为", "历史", "科学", "因此", "方法", "人们", "发现", "文化", "问题", "的", "是", "在"]
BAD = ["优惠", "点击", "加盟", "抢购", "免费", "热线", "彩票", "中奖", "贷款", "问题", "的", "是", "在"]


def write(path, words, seed, count=150):
    rng = random.Random(seed)
    lines = [{"text": "".join(rng.choices(words, k=40)) + "。"} for _ in range(count)]
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality")
    good, bad = write(folder / "good.jsonl", GOOD, 1), write(folder / "bad.jsonl", BAD, 2)
    return folder, train_quality([good], [bad], folder / "weights.npz", Features(bits=14))


def test_it_tells_good_from_bad_and_the_shuffled_control_does_not(trained):
    folder, report = trained
    assert report["accuracy"] > 0.95 and report["auc"] > 0.98
    assert 0.3 < report["shuffled_auc"] < 0.7
    assert report["documents"] == 300 and 30 < report["held_out_documents"] < 90
    rule = Quality(str(folder / "weights.npz"))
    texts = ["".join(GOOD) * 5, "".join(BAD[:9]) * 5, ""]
    verdict = rule.judge(Batch(pl.Series(texts)))
    assert verdict.keep.tolist()[:2] == [True, False]
    assert verdict.value.min() > 0 and verdict.value.max() < 1


def test_scores_are_the_formula_and_do_not_depend_on_neighbours(trained):
    folder, _ = trained
    weights = QualityClassifier.load(str(folder / "weights.npz"))
    texts = ["".join(random.Random(i).choices(GOOD + BAD, k=k)) for i, k in enumerate((0, 1, 3, 50, 3000))]
    together = score(Batch(pl.Series(texts)), weights)
    alone = np.concatenate([score(Batch(pl.Series([text])), weights) for text in texts])
    assert (together == alone).all()
    for text, value in zip(texts, together, strict=True):
        head, terms = text[: weights.features.characters], []
        for n in weights.features.lengths:
            for i in range(len(head) - n + 1):
                own = Batch(pl.Series([head[i : i + n]]))
                terms.append(weights.weight[weights.features.buckets(own, n)[0]] if len(head) < 200 else 0.0)
        if len(head) < 200:
            logit = weights.bias + (np.mean(terms, dtype=np.float64) if terms else 0.0)
            assert value == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def test_the_same_samples_give_the_same_weights(trained):
    folder, report = trained
    again = train_quality(
        [folder / "good.jsonl"], [folder / "bad.jsonl"], folder / "again.npz", Features(bits=14)
    )
    assert again == report
    with np.load(folder / "weights.npz", allow_pickle=False) as a, np.load(folder / "again.npz") as b:
        assert all((a[name] == b[name]).all() for name in a.files)


def test_what_cannot_be_used(trained, tmp_path):
    folder, _ = trained
    few = write(tmp_path / "few.jsonl", GOOD, 1, count=10)
    with pytest.raises(DataError, match="10 documents of bad text; give at least"):
        train_quality([folder / "good.jsonl"], [few], tmp_path / "w.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no zip")
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    np.savez(tmp_path / "objects.npz", version=np.array([{}], object))
    for name in ("missing.npz", "broken.npz", "other.npz", "objects.npz"):
        with pytest.raises(DataError, match=r"Quality\.weights: cannot read .*train_quality") as error:
            Quality(str(tmp_path / name)).judge(Batch(pl.Series(["好"])))
        assert "\n" not in str(error.value).split("\n  In call to configurable")[0]  # gin's addition
