"""Workers of benchmarks: each in turn, and no waiting for one that ended."""

import pytest

from benchmarks import _turns
from benchmarks._turns import Worker


class Counting:
    """Answers with what all of them have answered so far."""

    asked = 0

    def __init__(self):
        self.closed = False

    def ask(self, line=""):
        Counting.asked += 1
        return Counting.asked

    def close(self):
        self.closed = True


def test_each_has_its_turn_in_every_round():
    workers = {"ours": Counting(), "peak": Counting()}
    assert _turns.take_turns(workers, 2, {"peak": 3}) == {"ours": [1, 5], "peak": [2, 3, 4, 6, 7, 8]}
    assert all(worker.closed for worker in workers.values())


def test_ratios_are_of_a_round():
    words = _turns.compared([1.0, 2.0, 4.0], [2.0, 2.0, 6.0])
    assert words == "round by round: median 1.500 (min 1.000, max 2.000)"


def test_a_worker_that_ends_is_not_waited_for(capfd):
    with pytest.raises(SystemExit, match="the worker nobody ended: its messages are above"):
        Worker("convolutions", "nobody")
    assert "invalid choice: 'nobody'" in capfd.readouterr().err
