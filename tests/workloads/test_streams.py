"""Whatever the batch sizes of a run were, its training stream is one: each example comes once per epoch."""

import itertools
from types import SimpleNamespace

import grain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.batches import Mixture
from data_pipelines.text.synthetic import RandomSource, SyntheticTokens
from examples.digits import DigitSource
from pangu_jax.apps.language.tuning.sources import TrainSource

FEW = settings(max_examples=20, deadline=None)
SESSIONS = st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 8]), st.integers(1, 4)), min_size=1, max_size=4)


class Records:
    """A task of numbered windows."""

    def __init__(self, name, index, size):
        self.name, self.index, self.size = name, index, size
        self.records = [f"{name} {number}".encode() for number in range(size)]

    def window(self, record, rng):
        drawn = rng.integers(1000)  # a corruption: it must not depend on the batch size either
        return {"record": np.frombuffer(record.ljust(16), np.uint8), "drawn": np.asarray(drawn)}

    def identity(self, record):
        return record.decode()


def mixture(weights, sizes, seed=0):
    tasks = {f"t{i}": (Records(f"t{i}", i, sizes[i]), weight) for i, weight in enumerate(weights)}
    return lambda batch_size, shift=0: Mixture(tasks, batch_size, seed, shift)


def digits(size, seed=0):
    images_NxP, labels_N = np.arange(size, dtype=np.float32)[:, None], np.arange(size)
    return lambda batch_size, shift=0: DigitSource(images_NxP, labels_N, batch_size, seed, shift)


def tuning(size, seed=0):
    rows = SimpleNamespace(answer_N=np.zeros(size), width=lambda: 0, batch=lambda numbers, _: {"n": numbers})
    return lambda batch_size, shift=0: TrainSource(rows, batch_size, seed, "train", shift)


FAMILIES = st.one_of(
    st.builds(digits, st.integers(1, 20), st.integers(0, 3)),
    st.builds(tuning, st.integers(1, 20), st.integers(0, 3)),
    st.builds(
        mixture,
        st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0, 7.0]), min_size=1, max_size=3),
        st.just((300, 500, 400)),  # Grain takes milliseconds to find an element's place in an order of ten
        st.integers(0, 3),
    ),
)


def resumed(make, sessions):
    """(stream, step) for each step of a run that was resumed with other batch sizes."""
    step = read = 0
    for batch_size, steps in sessions:
        stream = make(batch_size, read - step * batch_size)
        for _ in range(steps):
            yield stream, step
            step, read = step + 1, read + batch_size


@FEW
@given(FAMILIES, SESSIONS)
def test_batches_of_any_sizes_are_the_stream_of_single_examples(make, sessions):
    names, arrays = [], []
    for stream, step in resumed(make, sessions):
        names += stream.identity(step)
        batch = stream.batch(step)
        batch.pop("step", None)  # of tuning: which one it is, for what changes with steps
        arrays += [{name: x[row] for name, x in batch.items()} for row in range(len(stream.identity(step)))]
    single = make(1)
    assert names == [single.identity(number)[0] for number in range(len(names))]
    for number, array in enumerate(arrays):
        expected = single.batch(number)
        assert all(np.array_equal(value, expected[name][0]) for name, value in array.items())


@FEW
@given(st.sampled_from([digits, tuning]), st.integers(1, 30), SESSIONS)
def test_each_example_comes_once_per_epoch(family, size, sessions):
    names = [name for stream, step in resumed(family(size), sessions) for name in stream.identity(step)]
    for epoch in range(len(names) // size):
        assert len(set(names[epoch * size : (epoch + 1) * size])) == size
    rest = names[len(names) // size * size :]
    assert len(set(rest)) == len(rest)


@FEW
@given(
    st.lists(st.floats(0.01, 50), min_size=1, max_size=4),
    st.lists(st.integers(1, 9), min_size=4, max_size=4),
    st.integers(0, 10**6),
)
def test_epochs_of_a_mixture_are_what_counting_its_windows_gives(weights, sizes, first):
    """The counts are by Grain's rule, told without a look at the windows."""
    stream = mixture(weights, sizes)(4, first)
    ranges = [grain.MapDataset.range(2**40).map(lambda k, i=i: (i, k)) for i in range(len(weights))]
    mixed = grain.MapDataset.mix(ranges, weights)
    before = stream.epochs(-1)
    for step in range(12):
        for number in range(first + 4 * step, first + 4 * step + 4):
            task, index = mixed[number]
            assert before[f"t{task}"] == index // sizes[task]
            before[f"t{task}"] = (index + 1) // sizes[task]
        assert stream.epochs(step) == before


def test_each_window_of_a_mixture_comes_once_per_epoch_of_its_task():
    """Batches of 4, then 8, then 2, of tasks with 60 and 90 windows, one drawn twice as often."""
    steps = resumed(mixture([2.0, 1.0], [60, 90]), [(4, 21), (8, 9), (2, 70)])
    names = [name for stream, step in steps for name in stream.identity(step)]
    for task, size in (("t0", 60), ("t1", 90)):
        own = [name for name in names if name.startswith(task)]
        assert len(own) >= size and all(
            len(set(own[start : start + size])) == len(own[start : start + size])
            for start in range(0, len(own), size)
        )


@FEW
@given(FAMILIES, st.integers(0, 5), st.integers(0, 40), st.data())
def test_processes_read_their_rows_of_a_shifted_batch(make, step, shift, data):
    stream = make(8, shift)
    whole, cuts = stream.batch(step), sorted({0, 8, *data.draw(st.lists(st.integers(1, 7), max_size=3))})
    parts = [stream.batch(step, slice(*pair)) for pair in itertools.pairwise(cuts)]
    for name, expected in whole.items():
        assert np.array_equal(np.concatenate([part[name] for part in parts]), expected)
    assert all(np.array_equal(x, next(stream.iterator(step))[name]) for name, x in whole.items())


@pytest.mark.parametrize("shift", [-7, -4, 0, 1, 8])
def test_random_tokens_go_on_where_the_count_is(shift):
    """Their blocks are of the batch size, so that one batch size has one stream."""
    data = SyntheticTokens(64, encoder_length=4, decoder_length=3)
    plain, shifted = (RandomSource(data, 4, 0, None, s) for s in (0, shift))
    rows = {name: np.concatenate([plain.batch(step)[name] for step in range(6)]) for name in plain.batch(0)}
    names = [name for step in range(6) for name in plain.identity(step)]
    for step in (2, 3):
        first = 4 * step + shift
        for name, x in shifted.batch(step).items():
            assert np.array_equal(x, rows[name][first : first + 4])
        assert shifted.identity(step) == names[first : first + 4]
    assert shifted.epochs(3) == {}
