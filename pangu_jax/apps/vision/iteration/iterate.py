"""`iterate`: rounds of mining, asking and learning on the pictures of a pool, by a trunk that stays as it is.

The state when a round begins is a function of the journal's answers and the seed: heads are learnt from fresh
weights, and what is mined hangs on the head before. What a round asks is in the journal before its first
answer, so that a machine that rounds floats otherwise asks the same. So a run that was killed anywhere comes
to the same end.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gin
import numpy as np
from scipy import special

from data_pipelines.images.images import Images
from pangu_jax.apps.vision.iteration import answers, heads, pool_features, report, stored_state
from pangu_jax.apps.vision.iteration.answers import KnownLabels, LabelQuery
from pangu_jax.apps.vision.iteration.asking import Asking, OneBit
from pangu_jax.apps.vision.iteration.mean_teacher import LearntHead, MeanTeacher
from pangu_jax.apps.vision.iteration.mining import Miner, RandomPictures
from pangu_jax.apps.vision.iteration.oracle import Oracle
from pangu_jax.apps.vision.iteration.pool import Pool, of_images
from pangu_jax.apps.vision.iteration.pool_features import PoolFeatures
from pangu_jax.errors import UserError
from pangu_jax.evaluation.journal import Journal
from pangu_jax.recipes import plain_errors
from pangu_jax.runs import opening
from pangu_jax.runs.inference_layout import ANY, Devices

JOURNAL = "journal.jsonl"
COLUMNS = ("round", "bits", "questions", "yes", "labels", "accuracy", "members", "flops", "flops_so_far")
Row = dict[str, Any]


class Iterated(NamedTuple):
    """What rounds came to.

    Attributes:
      rows: one per finished round: round, bits, questions, yes, labels, accuracy, flops.
      page: the report.
      finished: False where the oracle stopped before the end.
      waiting: questions of the open round without an answer.
    """

    rows: list[Row]
    page: Path
    finished: bool
    waiting: int


@plain_errors()
@gin.configurable
def iterate(
    run_dir: str = gin.REQUIRED,
    out: str = gin.REQUIRED,
    data: Images = gin.REQUIRED,
    oracle: Oracle = gin.REQUIRED,
    ask: Asking | None = None,
    mine: Miner | None = None,
    learn: MeanTeacher | None = None,
    rounds: int = 4,
    bits: float = 2000.0,
    share: float = 0.05,
    known: str | None = None,
    pictures: int | None = None,
    seed: int = 0,
    step: int | None = None,
    recipe: str = "",
    on_row: Callable[[Row], None] | None = None,
    say: Callable[[str], None] | None = None,
    devices: Devices = ANY,
) -> Iterated:
    """Ask, learn and measure, round after round. Round 0 learns from what is known at the start.

    Args:
      run_dir: the run whose trunk sees the pictures: pre-trained, or a classifier.
      out: folder of the journal, the features, the heads and the report; resumes what is there.
      data: the pictures: those to train on are the pool, those held out are measured on.
      oracle: who answers, @OracleFile() or @OraclePage().
      ask: @OneBit() or @FullLabel(); @OneBit() when None.
      mine: which pictures, @RandomPictures() or @UncertainPictures(); random ones when None.
      learn: @MeanTeacher() when None.
      rounds: after round 0.
      bits: that a round may spend.
      share: of the pictures of each class that are labelled at the start.
      known: a file "id,label" of what is known at the start, in place of `share`.
      pictures: so many of the pool, drawn; all when None.
      seed: of the start set, of weights, order and what is drawn.
      step: the run's checkpoint; the best or the newest when None.
      recipe: by which this is done; the report shows it.
      on_row: called with the row of each round.
      say: told what takes long.
      devices: where the run is opened.

    Raises:
      UserError, DataError: see `pool.of_images`, the oracle, and the journal of another recipe.
    """
    if rounds < 1 or bits < 1:
        raise UserError("iterate: rounds and bits must be at least 1")
    say, folder = say or (lambda line: None), Path(out)
    pool = of_images(data, share, seed, pictures, known)
    oracle.check(pool)
    run = opening.open_run(run_dir, step, devices, family="vision", float32=True)
    asked, mined, learns = ask or OneBit(), mine or RandomPictures(), learn or MeanTeacher()
    identity = {
        "pictures": data.order()
        | {
            "pool": len(pool),
            "classes": len(pool.classes),
            "start": hashlib.sha256(pool.start_N.tobytes()).hexdigest(),
        },
        "run": str(run.directory.path),
        "step": run.manifest["step"],
        "questions": [repr(asked), repr(mined), bits, share],
        "learning": repr(learns),
        "seed": seed,
    }
    with Journal(folder / JOURNAL, identity, "iteration") as journal:
        features = pool_features.of_run(run, pool, folder, say)
        made = Rounds(pool, features, asked, mined, learns, seed)
        waiting = carry_out(made, rounds, bits, oracle, journal, folder, on_row, say)
        rows = measured(journal.rows)
    page = _page(folder, pool, rows, recipe)
    return Iterated(rows, page, not waiting, waiting)


class Rounds:
    """What rounds are made of; nothing here changes from one to the next.

    Args:
      pool: the pictures.
      features: how the trunk sees them.
      ask: what is asked.
      mine: of which pictures.
      learn: how heads come of answers.
      seed: of all that is drawn.
    """

    def __init__(
        self,
        pool: Pool,
        features: PoolFeatures,
        ask: Asking,
        mine: Miner,
        learn: MeanTeacher,
        seed: int,
    ):
        self.pool, self.features, self.ask, self.mine, self.learn = pool, features, ask, mine, learn
        self.seed = seed

    def learnt(self, known: KnownLabels, number: int) -> LearntHead:
        """The head of a round."""
        return self.learn(self.features.views_NxVxF, known, self.seed * 1000 + number)

    def queries(self, head: LearntHead, known: KnownLabels, number: int, bits: float) -> list[LabelQuery]:
        """What is asked in a round, by the head of the round before."""
        probability_NxC = special.softmax(heads.answers(head.params, self.features.plain_NxF), axis=1)
        count = self.ask.count(bits, self.pool.bits)
        rng = np.random.default_rng([self.seed, number])
        rows = self.mine(self.features.plain_NxF, probability_NxC, known, count, rng)
        return self.ask.questions(rows, probability_NxC, known)

    def row(self, head: LearntHead, known: KnownLabels, number: int) -> Row:
        """What a round came to."""
        right_M = heads.answers(head.params, self.features.held_MxF).argmax(1) == self.pool.held_label_M
        forward = heads.HeadShape(
            self.features.held_MxF.shape[1],
            self.learn.hidden,
            len(self.pool.classes),
        ).flops
        return {
            "measured": number,
            "bits": round(known.bits, 1),
            "questions": known.asked,
            "yes": known.yes,
            "labels": int((known.label_N >= 0).sum()),
            "accuracy": round(100 * float(right_M.mean()), 3),
            "flops": head.flops
            + forward * (len(self.pool) + len(right_M))
            + (number == 0) * self.features.flops,
            "members": round(head.members, 4),
        }


def carry_out(
    rounds: Rounds,
    count: int,
    bits: float,
    oracle: Oracle,
    journal: Journal,
    folder: Path,
    on_row: Callable[[Row], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """All rounds that the journal lacks; questions without an answer where the oracle stopped, else 0.

    Args:
      rounds: what they are made of.
      count: rounds after round 0.
      bits: that a round may spend.
      oracle: who answers.
      journal: answers and rows, what is there included.
      folder: of the heads.
      on_row: called with the row of each round.
      say: told what begins.
    """
    on_row, say = on_row or (lambda row: None), say or (lambda line: None)
    for number in range(count + 1):
        if number and (waiting := _ask(rounds, number, bits, oracle, journal, folder, say)):
            return waiting
        _measure(rounds, number, journal, folder, on_row)
    return 0


def measured(rows: Sequence[Row]) -> list[Row]:
    """Of a journal's rows those of rounds, with FLOPs added up."""
    found, total = [], 0.0
    for row in rows:
        if "measured" in row:
            total += row["flops"]
            found.append({"round": row["measured"], **row, "flops_so_far": total})
            del found[-1]["measured"]
    return found


def _page(folder: Path, pool: Pool, rows: Sequence[Row], recipe: str) -> Path:
    words = (
        f"{pool.images.settings.path}: {len(pool)} pictures of {len(pool.classes)} classes in the pool, "
        f"{len(pool.held_label_M)} held out; a full label counts {pool.bits:.2f} bits, a yes or no 1, and "
        "the start set is counted too. FLOPs are those of matrix products, the trunk's features in round 0."
    )
    lines = {"held out": [(row["bits"], row["accuracy"]) for row in rows]}
    axes = "bits, those of the start set included", "percent right of what is held out"
    return report.write(folder, "Rounds of asking and learning", words, COLUMNS, rows, lines, axes, recipe)


def _ask(
    rounds: Rounds,
    number: int,
    bits: float,
    oracle: Oracle,
    journal: Journal,
    folder: Path,
    say: Callable[[str], None],
) -> int:
    """Questions that wait for an answer still when the oracle has stopped; 0 when the round is answered."""
    if any(row.get("measured") == number for row in journal.rows):
        return 0
    if (queries := answers.asked_in(rounds.pool, journal.rows, number)) is None:
        known = answers.known_before(rounds.pool, journal.rows, number)
        queries = rounds.queries(_head(rounds, number - 1, known, folder), known, number, bits)
        journal.add(answers.asked_row(rounds.pool, number, queries))
    done = answers.of_round(journal.rows, number)
    ids = rounds.pool.ids
    # In the order in which they were answered, for whoever wants to take the last one back.
    by_id = {ids[query.row]: query for query in queries}
    ordered = [by_id.pop(name) for name in done]
    queries = ordered + list(by_id.values())
    say(f"round {number}: {len(queries)} questions, {len(ordered)} of them answered")
    oracle.answer(rounds.pool, queries, len(ordered), _JournalTranscript(journal, rounds.pool, number))
    done = answers.of_round(journal.rows, number)
    return sum(ids[query.row] not in done for query in queries)


def _measure(
    rounds: Rounds, number: int, journal: Journal, folder: Path, on_row: Callable[[Row], None]
) -> None:
    if any(row.get("measured") == number for row in journal.rows):
        return
    known = answers.known_before(rounds.pool, journal.rows, number + 1)
    head = _head(rounds, number, known, folder)
    journal.add(rounds.row(head, known, number))
    on_row(measured(journal.rows)[-1])


def _head(rounds: Rounds, number: int, known: KnownLabels, folder: Path) -> LearntHead:
    """The head of a round: that of its file, or learnt and kept there."""
    # By what it was learnt from, so that another journal in this folder never takes it for its own.
    kept = folder / f"head-{number:03d}-{_fingerprint(rounds, known)}.npz"
    if found := stored_state.read(kept):
        return LearntHead(found["params"], float(found["flops"]), float(found["members"]))
    head = rounds.learnt(known, number)
    stored_state.write(kept, head._asdict())
    return head


def _fingerprint(rounds: Rounds, known: KnownLabels) -> str:
    """Of labels, seed, how is learnt and the features' shape."""
    said = repr((rounds.seed, rounds.learn, rounds.features.views_NxVxF.shape)).encode()
    arrays = known.label_N.tobytes() + np.packbits(known.ruled_out_NxC).tobytes()
    return hashlib.sha256(said + arrays).hexdigest()[:16]


class _JournalTranscript:
    """Answers of one round, into the journal."""

    def __init__(self, journal: Journal, pool: Pool, number: int):
        self._journal, self._pool, self._number = journal, pool, number

    def keep(self, query: LabelQuery, answer: str) -> None:
        self._journal.add(answers.row_of(self._pool, self._number, query, answer))

    def undo(self, query: LabelQuery) -> None:
        self._journal.add(answers.undone(self._number, self._pool.ids[query.row]))
