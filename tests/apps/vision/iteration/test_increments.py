"""Classes in increments: numbers that stay, memories, and what each method keeps."""

import types

import numpy as np
import pytest

from pangu_jax.apps.vision.iteration import hard_examples, heads, stored_state
from pangu_jax.apps.vision.iteration.increments import bic, increment, task
from pangu_jax.apps.vision.iteration.increments.head_fit import HeadFit
from pangu_jax.apps.vision.iteration.increments.icarl import ICaRL
from pangu_jax.apps.vision.iteration.increments.increment import IncrementStream, measured, summarised
from pangu_jax.apps.vision.iteration.increments.nearest_mean import NearestMean
from pangu_jax.apps.vision.iteration.increments.podnet import PooledDistillation
from pangu_jax.apps.vision.iteration.increments.replay import GDumb, Joint, Replay
from pangu_jax.errors import UserError
from pangu_jax.evaluation.journal import Journal

FIT = HeadFit(hidden=16, epochs=6, batch_size=20, learning_rate=5e-3)
CLASSES, WIDTH = 6, 12


@pytest.fixture(scope="module")
def stream():
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(CLASSES, WIDTH)) * 1.5
    label = np.repeat(np.arange(CLASSES), 30)
    views = centre[label][:, None] + rng.normal(size=(len(label), 2, WIDTH))
    held = np.repeat(np.arange(CLASSES), 20)
    classes = tuple("abcdef")
    pool = types.SimpleNamespace(start_N=label, held_label_M=held, classes=classes)
    held_x = centre[held] + rng.normal(size=(len(held), WIDTH))
    return IncrementStream(pool, views.astype(np.float16), held_x.astype(np.float16), 3, 4, 1)


@pytest.fixture(scope="module")
def rows(stream):
    methods = (Joint(FIT), Replay(FIT), GDumb(FIT), ICaRL(FIT), bic.BiC(FIT), PooledDistillation(FIT))
    methods += (NearestMean(), NearestMean(0.1))
    return summarised([row for one in methods for row, _ in measured(one, stream, 1.0)])


def test_every_method_learns_and_those_against_forgetting_forget_less_than_replay(rows):
    last = {row["method"]: row for row in rows if row["increment"] == 2}
    assert len(last) == 8 and min(row["accuracy"] for row in last.values()) > 100 / CLASSES
    for name in ("iCaRL", "BiC", "pooled distillation (PODNet)", "nearest mean"):
        assert last[name]["average"] > last["replay alone"]["average"], name
        assert last[name]["forgetting"] < last["replay alone"]["forgetting"], name
    assert last["replay alone"]["memory_bytes"] == 4 * 4 * 3072
    assert last["nearest mean"]["memory_bytes"] == CLASSES * WIDTH * 4
    assert last["joint"]["percent_of_joint"] == 100 > last["iCaRL"]["percent_of_joint"]


def test_looking_at_the_memory_again_is_counted(rows):
    """It holds pixels: 60 pictures are new, 16 are kept of the four classes before, each in two views."""
    last = {row["method"]: row["flops"] - row["head_flops"] for row in rows if row["increment"] == 2}
    assert last.pop("joint") == 2 * 180
    assert last.pop("nearest mean") == last.pop("nearest mean, whitened") == 2 * 60
    assert set(last.values()) == {2 * (60 + 16)}


def test_a_state_on_disk_continues_alike(stream, tmp_path):
    method = ICaRL(FIT)
    whole = list(measured(method, stream, 1.0))
    stored_state.write(tmp_path / "state.npz", whole[0][1])
    state = stored_state.read(tmp_path / "state.npz")
    assert [row for row, _ in measured(method, stream, 1.0, 1, state)] == [row for row, _ in whole[1:]]
    (tmp_path / "state.npz").write_bytes(b"half")
    assert stored_state.read(tmp_path / "state.npz") is None


def test_a_task_shows_new_classes_and_the_memory_of_old_ones(stream):
    one = stream.task(1)
    assert set(one.label_N[one.new]) == set(stream.groups[1])
    assert set(one.label_N[one.memory]) == set(stream.groups[0]) and len(one.memory) == 2 * 4
    assert np.bincount(one.label_N[one.kept], minlength=CLASSES).tolist() == [
        4 if one.seen_C[c] else 0 for c in range(CLASSES)
    ]
    later = stream.task(2)
    assert set(one.memory) < set(later.memory)
    assert sorted(np.concatenate(stream.groups)) == list(range(CLASSES))
    with pytest.raises(UserError, match="from 1 to the 6 classes"):
        task.groups_of(6, 7, 0)


def test_classes_that_are_renumbered_are_refused():
    task.require_numbers(["cat", "dog"], [0, 1], ["cat", "dog", "eel"])
    with pytest.raises(UserError, match="'dog' was learnt as number 1 and has number 2 now") as found:
        task.require_numbers(["cat", "dog"], [0, 1], ["cat", "cow", "dog"])
    assert "\n" not in str(found.value)
    with pytest.raises(UserError, match="is not there any more"):
        task.require_numbers(["cat", "dog"], [1], ["cat"])


def test_herding_takes_what_keeps_the_mean():
    x = np.array([[1, 0.1], [1, -0.1], [1, 0.9], [1, -0.9], [0.1, 5.0]])
    chosen = task.herded(x, 3)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    errors = [
        np.linalg.norm(unit.mean(0) - unit[list(rows)].mean(0)) for rows in (chosen, [0, 1, 3], [2, 3, 4])
    ]
    assert len(set(chosen)) == 3 and errors[0] == min(errors)
    assert len(task.herded(x, 9)) == 5


def test_the_bias_to_new_classes_is_found():
    rng = np.random.default_rng(0)
    label = rng.integers(4, size=400)
    logits = 3.0 * np.eye(4)[label] + rng.normal(size=(400, 4))
    new = np.array([False, False, True, True])
    alpha, beta = bic.bias_of(np.where(new, 2.0 * logits + 3.0, logits), label, new)
    honest, shift = bic.bias_of(logits, label, new)
    assert alpha == pytest.approx(honest / 2, rel=0.05) and beta == pytest.approx(
        shift - 1.5 * honest, abs=0.1
    )


def test_hard_examples_are_the_surest_mistakes(stream):
    params = {"out": {"kernel": np.eye(3, dtype=np.float32), "bias": np.zeros(3, np.float32)}}
    x = np.array([[9, 0, 0], [1, 0, 0], [0, 1, 0]], np.float16)
    assert hard_examples.hardest(params, x, np.array([1, 1, 1]), 5).tolist() == [0, 1]
    shape = heads.HeadShape(WIDTH, 16, CLASSES)
    import jax

    head = heads.init(shape, jax.random.key(0))
    label, rows = stream.pool.start_N, np.arange(180)
    learnt = []

    def fit(loss, params, views, labels, rows, *rest):
        learnt.append(rows)

    mined = hard_examples.HardExamples(fit, count=20)
    mined(head, stream.views_NxVxF, label, rows[::2], rows[1::2], 0)
    wrong = rows[::2][hard_examples.hardest(head, stream.views_NxVxF[rows[::2], 0], label[rows[::2]], 20)]
    assert learnt[0][: len(wrong)].tolist() == wrong.tolist() and set(learnt[0][20:]) <= set(rows[1::2])
    with pytest.raises(UserError, match="it is 'errors' or 'random'"):
        hard_examples.HardExamples(mined="error")


def test_a_method_of_other_settings_is_refused(tmp_path):
    with Journal(tmp_path / "j", {}, "iteration") as journal:
        journal.add({"method": "nearest mean, whitened", "by": repr(NearestMean(0.1))})
        increment._require_same(NearestMean(0.1), journal)
        with pytest.raises(UserError, match="was learnt by NearestMean"):
            increment._require_same(NearestMean(0.2), journal)


def test_columns_are_those_of_rows(rows):
    assert set(increment.COLUMNS) <= set(rows[0])
