"""Self-paced weights have hysteresis."""

import dataclasses

import numpy as np
import pytest

from pangu_jax.apps.vision.iteration.answers import KnownLabels
from pangu_jax.apps.vision.iteration.label_losses import GeneralisedCrossEntropy
from pangu_jax.apps.vision.iteration.mean_teacher import MeanTeacher
from pangu_jax.apps.vision.iteration.self_paced import SelfPaced
from pangu_jax.errors import UserError


def test_between_the_thresholds_membership_stays():
    weigh = SelfPaced(admit=0.25, withdraw=0.75, grow=0.0, warmup=0)
    loss = np.array([0.0, 1.0, 2.0, 3.0, np.nan])
    assert weigh.members(np.zeros(5, bool), loss, 0).tolist() == [True, False, False, False, False]
    assert weigh.members(np.ones(5, bool), loss, 0).tolist() == [True, True, True, False, True]
    assert weigh.members(np.zeros(5, bool), np.full(5, np.nan), 0).sum() == 0
    assert SelfPaced(0.25, 0.75, 0.25, warmup=1).members(np.zeros(4, bool), loss[:4], 4).all()
    assert SelfPaced(warmup=3).members(np.zeros(4, bool), loss[:4], 2).sum() == 0


def test_thresholds_the_wrong_way_round_are_refused():
    with pytest.raises(UserError, match="at most withdraw"):
        SelfPaced(admit=0.8, withdraw=0.5)


def test_wrong_labels_are_left_out(labelled, features):
    """40% of the labels are wrong; those that count in the end are right more often."""
    rng = np.random.default_rng(0)
    wrong = rng.random(len(labelled)) < 0.4
    label_N = np.where(wrong, rng.integers(10, size=len(labelled)), labelled.start_N)
    known = KnownLabels(label_N, np.zeros((len(labelled), 10), bool), 0.0)
    learn = MeanTeacher(
        hidden=32, steps=600, batch_size=64, unlabelled=1, learning_rate=5e-3, consistency=0.0, dropout=0.0
    )
    weigh = dataclasses.replace(learn, weigh=SelfPaced(admit=0.4, withdraw=0.6, grow=0.02, warmup=1))
    head = weigh(features.views_NxVxF, known, 0)
    assert 0.3 < head.members < 1
    robust = dataclasses.replace(learn, loss=GeneralisedCrossEntropy())
    from pangu_jax.apps.vision.iteration import heads

    def right(learner):
        params = learner(features.views_NxVxF, known, 0).params
        return (heads.answers(params, features.held_MxF).argmax(1) == labelled.held_label_M).mean()

    assert min(right(weigh), right(robust)) > right(learn)
