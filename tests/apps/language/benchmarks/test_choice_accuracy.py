"""Rows of choices say how often both scores are right, and whose number the headline is."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pangu_jax.apps.language.benchmarks import choice_accuracy
from pangu_jax.apps.language.benchmarks.candidates import CandidateQueries
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.tuning.examples import Labelled
from pangu_jax.apps.language.tuning.measuring import Measured
from pangu_jax.apps.language.tuning.methods import FineTuning, Head
from pangu_jax.apps.language.tuning.settings import Objective, Tuning

PATTERN = SimpleNamespace(chosen=lambda scores: int(np.argmax(scores[0])))


def asked(answers, candidates, owners=None):
    query = Query(np.array([3], np.int32), candidates=(np.array([4], np.int32),) * candidates)
    owners = owners or [(number, 0) for number in range(len(answers))]
    return CandidateQueries(PATTERN, [Labelled(query, 0)] * len(owners), owners, answers, 0)


def measured(log_p, lengths, normalised):
    log_p, lengths = np.array(log_p, np.float32), np.array(lengths, np.float32)
    return Measured(log_p / lengths if normalised else log_p, 0.0, 0.0, log_p, lengths)


def row_of(log_p, lengths, answers, normalised=False, priors=None, owners=None):
    tuning = Tuning(objective=Objective(normalised=normalised))
    scored = choice_accuracy.scores(measured(log_p, lengths, normalised), tuning)
    return choice_accuracy.columns(asked(answers, 2, owners), scored, priors)


@pytest.mark.parametrize("normalised", [False, True])
def test_where_lengths_differ_the_two_disagree_and_the_headline_is_named(normalised):
    """A short word wins by its sum, a long one per token."""
    row = row_of([[-3, -4], [-3, -4], [-1, -9]], [[1, 4]] * 3, [0, 1, 0], normalised)
    assert (row["accuracy_summed"], row["accuracy_normalised"]) == (66.67, 66.67)
    row = row_of([[-3, -4], [-3, -4], [-1, -9]], [[1, 4]] * 3, [0, 0, 0], normalised)
    assert (row["accuracy_summed"], row["accuracy_normalised"]) == (100.0, 33.33)
    assert row["headline"] == ("normalised" if normalised else "summed")
    assert row["accuracy"] == row[f"accuracy_{row['headline']}"]


log_p = st.floats(-50, -0.015625, width=32)


@given(
    st.lists(st.tuples(log_p, log_p, st.integers(1, 9), st.integers(1, 9), st.integers(0, 1)), min_size=1),
    st.booleans(),
)
def test_both_are_counted_over_all_examples(examples, normalised):
    row = row_of([e[:2] for e in examples], [e[2:4] for e in examples], [e[4] for e in examples], normalised)
    summed = np.mean([(b > a) == answer for a, b, _, _, answer in examples])
    per_token = np.mean(
        [
            (np.float32(b) / np.float32(m) > np.float32(a) / np.float32(n)) == answer
            for a, b, n, m, answer in examples
        ]
    )
    assert row["accuracy_summed"] == round(100 * float(summed), 2)
    assert row["accuracy_normalised"] == round(100 * float(per_token), 2)
    assert row["accuracy"] == row["accuracy_normalised" if normalised else "accuracy_summed"]


@given(st.lists(st.tuples(log_p, log_p, st.integers(0, 1)), min_size=1), st.integers(1, 9))
def test_candidates_of_one_length_are_chosen_alike(examples, length):
    row = row_of([e[:2] for e in examples], [[1, 1]] * len(examples), [e[2] for e in examples])
    assert row["accuracy_summed"] == row["accuracy_normalised"] == row["accuracy"]


def test_windows_of_an_example_are_averaged_in_both():
    row = row_of([[-1, -3], [-9, -3]], [[1, 2]] * 2, [1], owners=[(0, 0), (0, 0)])
    assert row["accuracy_summed"] == row["accuracy_normalised"] == 100.0


def test_what_calibration_takes_off_is_of_the_same_kind():
    priors = {"summed": np.array([0, -5.0]), "normalised": np.array([0, -0.1])}
    row = row_of([[-3, -5]], [[1, 1]], [1], priors=priors)
    assert (row["accuracy_summed"], row["accuracy_normalised"]) == (100.0, 0.0)


def test_candidates_that_are_not_there_and_unknown_answers_change_nothing():
    padded = measured([[-3, -4, -np.inf], [-1, -9, -np.inf]], [[1, 4, 1]] * 2, False)
    row = choice_accuracy.columns(asked([1, None], 2), choice_accuracy.scores(padded, Tuning()))
    assert (row["accuracy_summed"], row["accuracy_normalised"]) == (0.0, 100.0)


def test_a_classifier_has_one_score():
    found = measured([[0.5, 2.0]], [[1, 1]], False)
    for method, kinds in ((Head("encoder"), ["classifier"]), (FineTuning(), ["summed", "normalised"])):
        scored = choice_accuracy.scores(found, Tuning(method))
        assert list(scored) == kinds
    row = choice_accuracy.columns(asked([1], 2), choice_accuracy.scores(found, Tuning(Head("encoder"))))
    assert row == {"accuracy": 100.0, "headline": "classifier"}
