"""Contrast: the loss by hand, who is a positive, and what a queue remembers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision import VisionModel
from pangu_jax.workloads.vision.data import NoPictures
from pangu_jax.workloads.vision.model.contrast import NeighbourContrast
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.objective import PictureBatch

TRUNK = HierarchicalConfig(size=16, unit=8, d_model=16, depths=(1, 1, 1), heads=2)
PLAIN = NeighbourContrast(neighbours=0, queue=12, hidden=16, width=8, stages=2, temperature=0.3)
BATCH = 4
RUN = RunContext(OneDevice())


def workload(objective):
    return VisionModel(TRUNK, NoPictures(16, 3, 2, False), [objective], average=0.9)


@pytest.fixture(scope="module")
def batch():
    numbers = np.arange(BATCH, dtype=np.int32)
    image = np.random.default_rng(0).integers(0, 256, (BATCH, 2, 16, 16, 3), np.uint8)
    labels = np.array([0, 1, -1, 0], np.int32)
    weight = np.ones(BATCH, np.float32)
    return {"image": image, "label": labels, "place": numbers, "weight": weight, "task_id": 0 * numbers}


@pytest.fixture(scope="module")
def variables():
    """With a teacher that is another model than the student, and labels in its queue."""
    model = workload(PLAIN)
    own, other = model.init(jax.random.key(0)), model.init(jax.random.key(1))
    queue = own.extra["objectives"]["contrast"] | {"label": jnp.arange(12, dtype=jnp.int32) % 4 - 1}
    extra = own.extra | {"averaged": other.params, "objectives": {"contrast": queue}}
    return own._replace(extra=extra)


@pytest.fixture(scope="module")
def embeddings(batch, variables):
    """(student's, teacher's) unit embeddings [view, B, stage, E]."""
    model = workload(PLAIN)

    @jax.jit
    def of(params, pixels):
        run = model.pass_of(PLAIN, variables, RUN)
        return PLAIN.embed(params["contrast"], model.features(params, pixels, RUN), run)

    views = [batch["image"][:, view] for view in range(2)]
    both = (variables.params, variables.extra["averaged"])
    return tuple(np.stack([of(params, view) for view in views]) for params in both)


@functools.cache
def compiled(objective):
    """The loss of an objective, a program for all of its cases."""
    return jax.jit(lambda variables, batch: workload(objective).loss(variables, batch, None, RUN))


def by_hand(batch, variables, embeddings, objective, near):
    """The mean over views and stages of each picture's loss, in loops."""
    student, teacher = embeddings
    queue = variables.extra["objectives"]["contrast"]
    found = np.zeros(BATCH)
    for view in range(2):
        for stage in range(objective.stages):
            remembered = np.asarray(queue["queue"][stage])
            for picture in range(BATCH):
                q, k = student[view, picture, stage], teacher[1 - view, picture, stage]
                scores = np.array([q @ k, *(remembered @ q)]) / objective.temperature
                positives = {0}
                if near:
                    positives |= {1 + i for i in np.argsort(remembered @ k)[-objective.neighbours :]}
                if objective.labels and batch["label"][picture] >= 0:
                    same = np.flatnonzero(np.asarray(queue["label"]) == batch["label"][picture])
                    positives |= {1 + i for i in same}
                logs = scores - np.log(np.exp(scores).sum())
                found[picture] -= np.mean([logs[i] for i in positives]) / (2 * objective.stages)
    return found


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({}, 0),
        ({"neighbours": 3, "neighbours_from": 5}, 4),
        ({"neighbours": 3, "neighbours_from": 5}, 5),
        ({"neighbours": 2, "neighbours_from": 0, "labels": True}, 0),
        ({"labels": True}, 0),
    ],
)
def test_the_loss_is_that_of_the_formula(batch, variables, embeddings, change, steps):
    objective = dataclasses.replace(PLAIN, **change)
    now = variables._replace(extra=variables.extra | {"steps": jnp.float32(steps)})
    near = bool(objective.neighbours) and steps >= objective.neighbours_from
    expected = by_hand(batch, variables, embeddings, objective, near)
    sums = compiled(objective)(now, batch)
    assert float(sums.loss) == pytest.approx(expected.sum(), rel=1e-4)
    rows = sums.updates.rows["contrast"]
    np.testing.assert_allclose(rows["embedding"], embeddings[1][1], atol=1e-5)
    np.testing.assert_array_equal(rows["label"], batch["label"])


def test_nothing_is_learnt_by_the_teacher(batch, variables):
    def loss(averaged):
        extra = variables.extra | {"averaged": averaged}
        return workload(PLAIN).loss(variables._replace(extra=extra), batch, None, RUN).loss

    gradient = jax.jit(jax.grad(loss))(variables.extra["averaged"])
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(gradient))


def test_what_contrast_needs_is_asked_for():
    with pytest.raises(UserError, match=r"average = 0, and contrast needs averaged parameters: give \.99"):
        VisionModel(TRUNK, NoPictures(16, 3, 2, False), [PLAIN])
    with pytest.raises(UserError, match="views = 1: contrast learns from 2"):
        VisionModel(TRUNK, NoPictures(16, 3, 1, False), [PLAIN], average=0.9)
    with pytest.raises(UserError, match="model is None, and contrast needs a trunk"):
        VisionModel(None, NoPictures(16, 3, 2, False), [PLAIN], average=0.9)
    with pytest.raises(UserError, match=r"objectives = \['contrast', 'contrast'\]: give each once"):
        VisionModel(TRUNK, NoPictures(16, 3, 2, False), [PLAIN, PLAIN], average=0.9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"neighbours": 12}, "neighbours 12 must be from 0 to below"),
    ],
)
def test_settings_that_contradict_themselves(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(PLAIN, **change)


def test_student_sees_some_units_and_teacher_all(batch):
    keys = jax.random.split(jax.random.key(0), BATCH)
    pictures = PictureBatch(jnp.asarray(batch["image"]), jnp.asarray(batch["label"]), keys)
    begun = dataclasses.replace(PLAIN, seen=0.5).begin(TRUNK, pictures)
    shown = []
    for student, teacher in zip(begun.streams, begun.kept, strict=True):
        assert teacher.places_BxU.shape == (BATCH, TRUNK.units)
        places = np.asarray(student.places_BxU)
        assert places.shape == (BATCH, TRUNK.units // 2)
        assert all(len(set(of)) == len(of) for of in places)
        wanted = np.take_along_axis(np.asarray(teacher.values_BxUxV), places[:, :, None], axis=1)
        assert np.array_equal(student.values_BxUxV, wanted)
        shown.append(places)
    assert (shown[0] != shown[1]).any()
    with pytest.raises(ValueError, match="seen"):
        dataclasses.replace(PLAIN, seen=0.0)
