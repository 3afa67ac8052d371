"""Sub-models of a HiViT: a slice is the whole with masks, and what is learnt in a step by which of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.errors import UserError
from pangu_jax.models import normalization
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.vision import DistilledClassifier, ElasticClassifier, FreshTrunk, PictureClassifier
from pangu_jax.workloads.vision.data import NoPictures
from pangu_jax.workloads.vision.distilled import TeacherInMemory
from pangu_jax.workloads.vision.elastic import cut_classifier, require_means
from pangu_jax.workloads.vision.model import blocks, hierarchical, slicing
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.plain import PlainConfig
from pangu_jax.workloads.vision.model.slicing import SubModel

WHOLE = HierarchicalConfig(
    size=8, unit=4, channels=1, d_model=32, depths=(1, 1, 2), heads=4, learned_positions=True
)
PART = SubModel(16, (1, 1, 1))
DATA = NoPictures(8, 1, 1, False, ("ape", "bee", "cat"))
RUN, BATCH = RunContext(OneDevice()), 8
SIZES = ((24, (1, 1, 2)), (16, (1, 1, 2)), (8, (1, 1, 1)))


@pytest.fixture(scope="module")
def elastic():
    return ElasticClassifier(
        FreshTrunk(WHOLE), DATA, SIZES, every=2, alone=3, weight=0.3, labels=0.4, stages=3
    )


@pytest.fixture(scope="module")
def params(elastic):
    """All of them drawn, biases and heads too: nothing is equal by being zero."""

    def drawn(key):
        shapes = jax.eval_shape(elastic.init, key).params
        leaves, structure = jax.tree.flatten(shapes)
        keys = jax.random.split(key, len(leaves))
        return structure.unflatten(
            [0.2 * jax.random.normal(k, x.shape) + 0.1 for k, x in zip(keys, leaves, strict=True)]
        )

    return jax.jit(drawn)(jax.random.key(0))


@pytest.fixture(scope="module")
def batch():
    draw = np.random.default_rng(0)
    weight = np.ones(BATCH, np.float32)
    weight[-1] = 0
    return {
        "image": draw.integers(0, 256, (BATCH, 1, 8, 8, 1), np.uint8),
        "label": np.array([0, 1, 2, 0, -1, 1, 2, 1], np.int32),
        "place": np.arange(BATCH, dtype=np.int32),
        "weight": weight,
        "task_id": np.zeros(BATCH, np.int32),
    }


def masked_norm(x, norm, epsilon=normalization.EPSILON):
    """LayerNorm over the channels whose scale is not 0."""
    mask = (norm["scale"] != 0).astype(x.dtype)
    count = jnp.maximum(mask.sum(-1, keepdims=True), 1)  # a block that is masked out has none
    centred = (x - (x * mask).sum(-1, keepdims=True) / count) * mask
    inverse = jax.lax.rsqrt((centred**2).sum(-1, keepdims=True) / count + epsilon)
    return centred * inverse * norm["scale"] + norm["bias"]


def test_a_slice_is_the_whole_with_masks(elastic, params, batch, monkeypatch):
    """Widths, heads and layers masked with zeros in the whole's program, norms over the slice."""
    small = slicing.cut_config(WHOLE, PART)
    pixels = batch["image"][:, 0]
    features = jax.jit(lambda p: elastic._features(small, p, pixels, RUN))(slicing.cut(WHOLE, params, PART))
    # Which weights a slice takes, asked of the gradient of their sum.
    taken = jax.jit(
        jax.grad(lambda p: sum(jnp.sum(x) for x in jax.tree.leaves(slicing.cut(WHOLE, p, PART))))
    )({name: params[name] for name in ("trunk", "main")})
    padded = jax.tree.map(jnp.multiply, taken, {name: params[name] for name in taken})
    monkeypatch.setattr(blocks, "layer_norm", masked_norm)
    monkeypatch.setattr(hierarchical, "layer_norm", masked_norm)
    whole = jax.jit(lambda p: elastic._features(WHOLE, p, pixels, RUN))(padded)
    for tokens, own, masked in zip(slicing.TOKENS, features, whole, strict=True):
        by_token = masked.reshape(*masked.shape[:2], tokens, -1)
        kept = own.shape[-1] // tokens
        np.testing.assert_allclose(own, by_token[..., :kept].reshape(own.shape), atol=1e-5, rtol=1e-5)
        assert np.abs(by_token[..., kept:]).max() < 1e-6
        assert np.abs(own).max() > 0.1
    # Not two copies of one mistake: other channels of the merges' neighbours give something else.
    assert int(sum(x.sum() for x in jax.tree.leaves(taken))) == sum(
        x.size for x in jax.tree.leaves(jax.eval_shape(small.init, jax.random.key(0)))
    )


def test_of_a_head_on_all_units_no_part_is_cut():
    whole = PictureClassifier(FreshTrunk(WHOLE), DATA, pooling="none")
    with pytest.raises(UserError, match="its pooling is another"):
        require_means(whole, "runs/a")
    assert "pooling" in PictureClassifier.OF_MODEL  # so that a finished run has the head that it was given


def test_a_step_is_labels_for_all_and_the_answers_of_the_whole_for_parts(elastic, params, batch):
    run = RUN._replace(phase=1)
    variables = Variables(params)
    keys = jax.random.split(jax.random.key(0), BATCH)

    pixels = batch["image"][:, 0]

    @jax.jit
    def found(params):
        sums = elastic.loss(variables._replace(params=params), batch, keys, run)

        def logs(part):
            cut = cut_classifier(WHOLE, params, part, 3)
            logits_BxC, _ = elastic.answers(slicing.cut_config(WHOLE, part), cut, pixels, RUN)
            return jax.nn.log_softmax(logits_BxC)

        parts = slicing.whole(WHOLE), SubModel(*SIZES[2]), SubModel(*SIZES[0])
        return sums.loss, sums.metrics, sums.weight, [logs(part) for part in parts]

    loss, metrics, weight, (whole, *others) = jax.device_get(found(params))
    counted = [0, 1, 2, 3, 5, 6]
    by_hand = -whole[counted, batch["label"][counted]].sum()
    assert weight == len(counted)
    for name, logs in zip(("smallest", "drawn"), others, strict=True):
        apart = (np.exp(whole) * (whole - logs)).sum(1)[counted].sum()
        np.testing.assert_allclose(metrics[f"loss/{name}"][0], apart, rtol=1e-4)
        hard = -logs[counted, batch["label"][counted]].sum()
        by_hand += 0.3 * (0.4 * hard + 0.6 * apart)
    np.testing.assert_allclose(loss, by_hand, rtol=1e-4)


def test_the_whole_learns_nothing_from_its_parts(elastic, params, batch):
    """What a part does not have gets the gradient of labels alone."""
    variables = Variables(params)
    keys = jax.random.split(jax.random.key(0), BATCH)

    @jax.jit
    def gradients(params):
        def of(phase):
            run = RUN._replace(phase=phase)
            return jax.grad(lambda p: elastic.loss(variables._replace(params=p), batch, keys, run).loss)

        return of(0)(params), of(1)(params)

    alone, together = gradients(params)
    last = alone["main"]["perceptron"]["up"][:, 24:], together["main"]["perceptron"]["up"][:, 24:]
    np.testing.assert_allclose(*last, rtol=1e-4, atol=1e-6)
    first = alone["main"]["perceptron"]["up"][0, :8], together["main"]["perceptron"]["up"][0, :8]
    assert np.abs(first[0] - first[1]).max() > 1e-3


def test_phases(elastic):
    phases = [elastic.phase(step) for step in range(200)]
    assert phases[:3] == [0, 0, 0]
    assert set(phases[3::2]) == {1, 2}
    assert set(phases[4::2]) == {0}
    assert phases == [elastic.phase(step) for step in range(200)]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((), "sizes is empty"),
        (((12, (1, 1, 1)),), "width 12: give a multiple of 8"),
        (((16, (1, 1, 3)),), r"depths \(1, 1, 3\): give three numbers from 1"),
        (((32, (1, 1, 2)),), "is the whole model"),
    ],
)
def test_sizes_that_are_no_parts(sizes, words):
    with pytest.raises(UserError, match=words):
        ElasticClassifier(FreshTrunk(WHOLE), DATA, sizes)


def test_a_plain_vit_has_no_parts():
    with pytest.raises(UserError, match="out of a HiViT"):
        ElasticClassifier(FreshTrunk(PlainConfig(size=8, patch=4, channels=1)), DATA, SIZES)


TEACHER = PictureClassifier(FreshTrunk(WHOLE), DATA, stages=3)
STUDENT = PlainConfig(size=8, patch=4, channels=1, d_model=16, layers=1, heads=2)


def test_a_student_learns_from_labels_where_there_are_and_from_its_teacher_everywhere(params, batch):
    """A plain ViT taught by a HiViT, its features too."""
    student = DistilledClassifier(
        FreshTrunk(STUDENT),
        dataclasses.replace(DATA, classes=()),  # a folder without labels: the classes are the teacher's
        TeacherInMemory(TEACHER, Variables(params)),
        temperature=2.0,
        soft=0.75,
        features=0.5,
    )
    assert student.classes == DATA.classes

    @jax.jit
    def found(key):
        given = {"base": STUDENT.init(key), "teacher": Variables(params)}
        variables = student.start(key, given)
        head = variables.params["head"] | {"kernel": jax.random.normal(key, (16, 3))}
        variables = variables._replace(params=variables.params | {"head": head})
        sums = student.loss(variables, batch, jax.random.split(key, BATCH), RUN)
        pixels = batch["image"][:, 0]
        whole = TEACHER.complete(variables.constants["teacher"])
        own = student.answers(STUDENT, student.complete(variables), pixels, RUN)[0]
        gradient = jax.grad(lambda c: student.loss(variables._replace(constants=c), batch, None, RUN).loss)(
            variables.constants
        )
        return sums, own, TEACHER.answers(WHOLE, whole, pixels, RUN)[0], gradient

    sums, own, taught, gradient = jax.device_get(found(jax.random.key(1)))
    logs = lambda x: x - np.log(np.exp(x).sum(1, keepdims=True))  # noqa: E731
    soft_B = 4 * (np.exp(logs(taught / 2)) * (logs(taught / 2) - logs(own / 2))).sum(1)
    labelled = [0, 1, 2, 3, 5, 6]
    hard = -logs(own)[labelled, batch["label"][labelled]].sum()
    features = sums.metrics["loss/features"][0]
    assert sums.weight == BATCH - 1  # a row of weight 0 is padding
    assert 0 < features < 2 * BATCH
    np.testing.assert_allclose(sums.metrics["loss/soft"][0], soft_B[:-1].sum(), rtol=1e-4)
    np.testing.assert_allclose(sums.loss, 0.25 * hard + 0.75 * soft_B[:-1].sum() + 0.5 * features, rtol=1e-4)
    assert all(not np.any(x) for x in jax.tree.leaves(gradient))


def test_a_teacher_of_other_classes_or_pictures():
    teacher = TeacherInMemory(TEACHER, Variables({}))
    others = dataclasses.replace(DATA, classes=("ant", "bee", "cat"))
    with pytest.raises(UserError, match="tells ape, bee, cat apart, and the pictures are of ant, bee, cat"):
        DistilledClassifier(FreshTrunk(STUDENT), others, teacher)
    larger = PlainConfig(size=16, patch=4, channels=1, d_model=16, layers=1, heads=2)
    with pytest.raises(UserError, match="sees pictures of 8 pixels and 1 channels, and the student 16 and 1"):
        DistilledClassifier(FreshTrunk(larger), dataclasses.replace(DATA, size=16), teacher)
