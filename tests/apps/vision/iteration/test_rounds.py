"""Rounds of asking: killed anywhere they come to the same end, and no answer is lost."""

import dataclasses
import json

import numpy as np
import pytest

from pangu_jax.apps.vision.iteration import answers, iterate
from pangu_jax.apps.vision.iteration import pool as pools
from pangu_jax.apps.vision.iteration.answers import KnownLabels, LabelQuery
from pangu_jax.apps.vision.iteration.asking import FullLabel, OneBit
from pangu_jax.apps.vision.iteration.iterate import JOURNAL, Rounds, carry_out, measured
from pangu_jax.apps.vision.iteration.mean_teacher import MeanTeacher
from pangu_jax.apps.vision.iteration.mining import RandomPictures, UncertainPictures
from pangu_jax.apps.vision.iteration.oracle import OracleFile
from pangu_jax.errors import UserError
from pangu_jax.evaluation.journal import Journal
from tests.apps.vision.iteration.conftest import write_labels

LEARN = MeanTeacher(hidden=16, steps=100, batch_size=16, unlabelled=16, learning_rate=1e-2)
IDENTITY = {"of": "test"}


class Killed(BaseException):
    """Where a process would be no more."""


@pytest.fixture
def oracle(pool, truth, tmp_path):
    path = tmp_path / "labels.csv"
    write_labels(path, truth)
    found = OracleFile(str(path))
    found.check(pool)
    return found


def carried(rounds, oracle, folder, killed_after=None):
    """Rows of the journal, written until it has so many lines more."""
    with Journal(folder / JOURNAL, IDENTITY, "iteration") as journal:
        add, lines = journal.add, 0

        def counted(row):
            nonlocal lines
            if lines == killed_after:
                raise Killed
            add(row)
            lines += 1

        journal.add = counted
        try:
            waiting = carry_out(rounds, 2, 12.0, oracle, journal, folder)
        except Killed:
            return None
    assert waiting == 0
    return journal.rows


def test_killed_in_any_round_it_comes_to_the_same_end(pool, features, oracle, tmp_path):
    rounds = Rounds(pool, features, OneBit(), UncertainPictures(by="bit"), LEARN, 3)
    whole = carried(rounds, oracle, tmp_path / "whole")
    assert whole and sum("answer" in row for row in whole) == 24
    for places in ([0, 5, 9], [13, 0, 12]):  # in round 0, among answers, between answers and a round's row
        folder = tmp_path / f"killed{places[0]}"
        for place in places:
            assert carried(rounds, oracle, folder, place) is None
        for head in folder.glob("head-*.npz"):  # half written
            head.write_bytes(head.read_bytes()[:100])
        assert carried(rounds, oracle, folder) == whole
    rows = measured(whole)
    assert [row["bits"] - rows[0]["bits"] for row in rows] == [0, 12, 24]
    assert rows[-1]["flops_so_far"] == pytest.approx(sum(row["flops"] for row in rows))


def test_a_round_that_has_begun_asks_what_it_began_with(pool, features, oracle, tmp_path):
    """On a machine that rounds otherwise, too: here its head is another."""
    rounds = Rounds(pool, features, OneBit(), UncertainPictures(by="bit"), LEARN, 3)
    whole = carried(rounds, oracle, tmp_path / "whole")
    assert carried(rounds, oracle, tmp_path / "moved", 6) is None
    moved = Rounds(pool, features, OneBit(), UncertainPictures(by="entropy"), LEARN, 3)
    found = carried(moved, oracle, tmp_path / "moved")
    of_one = [[row for row in rows if row.get("round") == 1] for rows in (whole, found)]
    assert of_one[0] == of_one[1] and "asked" in of_one[0][0]


def test_an_answer_to_another_question_is_refused(pool, features, oracle, tmp_path):
    rounds = Rounds(pool, features, OneBit(), RandomPictures(), LEARN, 0)
    assert carried(rounds, oracle, tmp_path, 4) is None
    path = tmp_path / JOURNAL
    *before, last = path.read_text().splitlines()
    row = json.loads(last)
    other = next(name for name in pool.classes if name != row["guess"])
    path.write_text("\n".join([*before, json.dumps(row | {"guess": other})]) + "\n")
    with pytest.raises(UserError, match=f"answers {other!r} of .* which does not ask that") as found:
        carried(rounds, oracle, tmp_path)
    assert "\n" not in str(found.value)


def test_full_labels_cost_their_bits(pool, features, oracle, tmp_path):
    rounds = Rounds(pool, features, FullLabel(), RandomPictures(), LEARN, 0)
    rows = measured(carried(rounds, oracle, tmp_path))
    assert rows[1]["questions"] == int(12 / pool.bits) == 3
    assert rows[1]["bits"] == pytest.approx(rows[0]["bits"] + 3 * np.log2(10), abs=0.1)
    assert rows[1]["labels"] == rows[0]["labels"] + 3


def test_a_no_is_not_asked_again_and_an_answer_can_be_taken_back(pool):
    known = KnownLabels.at_start(pool)
    row = int(np.flatnonzero(known.label_N < 0)[0])
    p = np.tile(np.linspace(0.1, 0.0, len(pool.classes)), (len(pool), 1))
    first = OneBit().questions(np.array([row]), p, known)[0]
    known.take(pool, first, "no")
    second = OneBit().questions(np.array([row]), p, known)[0]
    assert (first.guess, second.guess) == (0, 1)
    known.take(pool, second, "yes")
    assert known.label_N[row] == 1 and known.yes == 1

    query = LabelQuery(row, 2)
    rows = [answers.row_of(pool, 1, query, "yes"), answers.undone(1, pool.ids[row])]
    assert answers.known_before(pool, rows, 2).asked == 0
    rows.append(answers.row_of(pool, 1, query, "no"))
    assert answers.known_before(pool, rows, 2).ruled_out_NxC[row, 2]
    assert answers.known_before(pool, rows, 1).asked == 0


def test_of_two_classes_a_no_is_a_label(pool):
    two = dataclasses.replace(pool, classes=("whole", "broken"), start_N=np.full(len(pool), -1))
    known = KnownLabels.at_start(two)
    known.take(two, LabelQuery(3, 0), "no")
    assert known.label_N[3] == 1 and known.yes == 0


def test_a_head_of_other_answers_is_not_taken_for_this_one(pool, features, oracle, tmp_path):
    rounds = Rounds(pool, features, OneBit(), RandomPictures(), LEARN, 0)
    carried(rounds, oracle, tmp_path)
    (tmp_path / "journal.jsonl").unlink()
    other = Rounds(pool, features, OneBit(), RandomPictures(), LEARN, 1)
    assert carried(other, oracle, tmp_path) == carried(other, oracle, tmp_path / "alone")


def test_a_journal_of_other_questions_is_refused(tmp_path):
    with Journal(tmp_path / "j", IDENTITY, "iteration"):
        pass
    with pytest.raises(UserError, match="is of an iteration with another of"):
        Journal(tmp_path / "j", {"of": "another"}, "iteration")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("id,label\nnot/there.png,digit 1\n", "no picture has the id 'not/there.png'"),
        ("name,label\na,b\n", "must name the columns id,label; no 'id'"),
        ("id,label\n{id},digit 11\n", "no class 'digit 11'; did you mean 'digit 1'?"),
        ("id,label\n{id},digit 1\n{id},digit 2\n", "line 3: '{id}' is 'digit 2' here, 'digit 1' before"),
        ("id,label\n{id},\n", "line 2: id and label are both needed"),
        ("", "must name the columns"),
    ],
)
def test_a_wrong_file_of_labels_is_one_line(pool, tmp_path, lines, said):
    path = tmp_path / "labels.csv"
    path.write_text(lines.format(id=pool.ids[0]))
    with pytest.raises(UserError) as found:
        OracleFile(str(path)).check(pool)
    assert said.format(id=pool.ids[0]) in str(found.value) and "\n" not in str(found.value)


def test_a_file_without_an_answer_keeps_those_before_it(pool, features, truth, tmp_path):
    path = tmp_path / "labels.csv"
    write_labels(path, truth[:5])
    oracle = OracleFile(str(path))
    oracle.check(pool)
    rounds = Rounds(pool, features, OneBit(), RandomPictures(), LEARN, 0)
    with (
        Journal(tmp_path / JOURNAL, IDENTITY, "iteration") as journal,
        pytest.raises(UserError, match="add it and run the same command again"),
    ):
        carry_out(rounds, 1, 12.0, oracle, journal, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines()]
    assert lines[0] == {"sweep": IDENTITY} and "measured" in lines[1]


def test_known_labels_by_a_file(pool, truth, tmp_path):
    path = tmp_path / "known.csv"
    write_labels(path, truth[:40])
    found = pools.of_images(pool.images, 0.5, 0, 400, str(path))
    assert int((found.start_N >= 0).sum()) == 40 and found.classes == pool.classes


def test_mining_spreads_and_leaves_copies_out():
    from pangu_jax.apps.vision.iteration import mining

    x = np.array([[1, 0], [1, 1e-4], [0, 1], [1, 0.2]], np.float32)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert mining.without_copies(unit, 0.999).tolist() == [0, 2, 3]
    assert mining.farthest(unit, 2).tolist() == [0, 2]
    p = np.array([[0.5, 0.5, 0], [0.9, 0.05, 0.05], [0.4, 0.3, 0.3]])
    assert [mining.doubt(p, by).argmax() for by in ("entropy", "margin", "bit")] == [2, 0, 0]
    known = KnownLabels(np.array([-1, -1, -1, 0]), np.zeros((4, 3), bool), 0.0)
    p = np.concatenate([p, p[:1]])
    rows = UncertainPictures(by="entropy", spread=1.0)(x, p, known, 2, np.random.default_rng(0))
    assert set(rows.tolist()) <= {0, 1, 2} and rows[0] == 2


def test_suppression_moves_the_target_to_the_classes_that_are_left(pool, features, labelled):
    """Of half of the pool all classes but two are ruled out: what is said by silence is learnt."""
    rng = np.random.default_rng(0)
    known = KnownLabels.at_start(pool)
    for row in np.flatnonzero(known.label_N < 0)[::2]:
        ruled_out = rng.permutation(10)[:8]
        known.ruled_out_NxC[row, ruled_out] = True
        known.ruled_out_NxC[row, labelled.start_N[row]] = False
    learn = dataclasses.replace(LEARN, steps=300, unlabelled=64, dropout=0.0)
    right = {}
    for suppress in (True, False):
        head = dataclasses.replace(learn, suppress=suppress)(features.views_NxVxF, known, 0)
        found = iterate.heads.answers(head.params, features.held_MxF).argmax(1)
        right[suppress] = float((found == pool.held_label_M).mean())
    assert right[True] > right[False] + 0.03
