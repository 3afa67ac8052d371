"""Means and paired differences against brute force and textbook formulas, and what is said of rows alone."""

import itertools
import math

import numpy as np
import pytest

from pangu_jax.errors import UserError
from pangu_jax.evaluation import statistics

HEAD = (56.0, 61.0, 57.5, 60.0, 58.0)
PROMPT = (70.0, 75.0, 57.0, 71.0, 73.0)


def rows(method: str, values: tuple[float, ...], task: str = "fewclue/eprstmt", seed: int = 0) -> list[dict]:
    return [
        dict(task=task, method=method, split=split, seed=seed, accuracy=value)
        for split, value in enumerate(values)
    ]


def test_means_and_sample_deviations() -> None:
    found = statistics.summaries(rows("head", HEAD) + rows("prompt", PROMPT[:1]))
    deviation = math.sqrt(sum((value - 58.5) ** 2 for value in HEAD) / 4)
    assert found[0] == ("fewclue/eprstmt", "head", "accuracy", 58.5, pytest.approx(deviation), 5)
    assert found[1][3:] == (70.0, None, 1)


def test_paired_by_split() -> None:
    # Another order of rows changes nothing: pairs go by split and seed.
    (found,) = statistics.paired(rows("head", HEAD)[::-1] + rows("prompt", PROMPT), "prompt", "head")
    differences = np.subtract(PROMPT, HEAD)
    assert found.differences == dict(zip("01234", differences, strict=True))
    assert (found.mean, found.std) == pytest.approx((differences.mean(), differences.std(ddof=1)))
    assert (found.wins, found.losses, found.pairs, found.unit, found.unmatched) == (4, 1, 5, "split", ())
    flips = np.array(list(itertools.product((1, -1), repeat=5)))
    assert found.p_value == np.mean(abs((flips * differences).mean(1)) >= differences.mean() - 1e-12)
    half = 2.7764451052 * differences.std(ddof=1) / math.sqrt(5)  # t of 4 degrees of freedom, 97.5%
    assert found.interval == pytest.approx((differences.mean() - half, differences.mean() + half))
    (reverse,) = statistics.paired(rows("head", HEAD) + rows("prompt", PROMPT), "head", "prompt")
    assert reverse.mean == -found.mean and reverse.p_value == found.p_value and reverse.wins == found.losses


@pytest.mark.parametrize("values", [(1, 2, 3, 4, 5), (1, 1, 1), (3, -1), (0, 0, 0), (1, -2, 3, 0.5, 0, 9)])
def test_p_value_tries_every_sign(values: tuple[float, ...]) -> None:
    flips = np.array(list(itertools.product((1, -1), repeat=len(values))))
    exact = np.mean(abs((flips * values).sum(1)) >= abs(sum(values)) - 1e-12)
    zero = tuple(0.0 for _ in values)
    (found,) = statistics.paired(rows("a", values) + rows("b", zero), "a", "b")
    assert found.p_value == exact
    assert found.p_value >= found.smallest_p == 2 / 2 ** len(values)


def test_seeds_of_a_split_are_one_unit() -> None:
    ours = rows("a", (2, 4)) + rows("a", (4, 8), seed=1)
    (found,) = statistics.paired(ours + rows("b", (0, 0)) + rows("b", (0, 0), seed=1), "a", "b")
    assert (found.differences, found.pairs, found.smallest_p) == ({"0": 3, "1": 6}, 4, 0.5)
    one_split = [row for row in ours if row["split"] == 0]
    (found,) = statistics.paired(one_split + rows("b", (0,)) + rows("b", (0,), seed=1), "a", "b")
    assert (found.differences, found.unit) == ({"0": 2, "1": 4}, "seed")


def test_what_has_no_partner_is_named() -> None:
    known = rows("head", HEAD[:3]) + rows("prompt", PROMPT[1:4]) + rows("prompt", (50.0,), "fewclue/chid")
    first, second = statistics.paired(known, "prompt", "head")
    # PROMPT[1:4] stand on splits 0 to 2 here, as HEAD[:3] do.
    assert first.pairs == 3 and first.unmatched == ()
    assert (second.task, second.mean, second.interval, second.p_value) == ("fewclue/chid", None, None, 1)
    assert second.unmatched == ("prompt 0 0",)
    (found,) = statistics.paired(rows("head", HEAD[:2]) + rows("prompt", PROMPT), "prompt", "head")
    assert found.pairs == 2 and found.unmatched == ("prompt 2 0", "prompt 3 0", "prompt 4 0")


def test_other_metrics_and_wrong_rows() -> None:
    row = dict(task="csl/title", method="lead", split="test", seed=0, metric="rouge_l", rouge_l=30.0)
    assert statistics.summaries([row])[0].metric == "rouge_l"
    for wrong, said in (
        ([row | {"rouge_l": math.nan}], "no number under 'rouge_l'"),
        ([row | {"rouge_l": "30"}], "no number"),
        ([{key: value for key, value in row.items() if key != "seed"}], "row 1 has no seed"),
        ([row, row], "row 2 is there twice: csl/title lead test 0"),
        ([row, row | {"seed": 1, "metric": "accuracy", "accuracy": 1.0}], "rouge_l and of accuracy"),
    ):
        with pytest.raises(UserError, match=said):
            statistics.summaries(wrong)


def test_baselines_are_compared_with_last() -> None:
    known = [row for method in ("majority", "head", "prompt") for row in rows(method, HEAD)]
    pairs = [("prompt", "head"), ("head", "majority"), ("prompt", "majority")]
    assert statistics.comparisons(known) == pairs
