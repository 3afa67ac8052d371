"""Layouts as data: what fits, what does not, and what a person is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pangu_jax.errors import UserError
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout

small = st.integers(1, 6)
DIMENSIONS = {"heads": 6, "embed": 16, "encoder_layers": 6, "decoder_layers": 6, "encoder_length": 8}
DIMENSIONS |= {"expert": 8, "group_expert": 4}


@given(small, small, small)
def test_data_takes_what_is_left(fsdp, model, data):
    assert Layout(fsdp=fsdp, model=model).on(fsdp * model * data).data == data


@pytest.mark.parametrize(
    ("layout", "devices", "words"),
    [
        (Layout(model=3), 8, "model 3 does not fit 8 devices.* 3, which does not divide 8"),
        (Layout(data=2, model=2), 8, "data 2 x model 2 needs 4 devices and there are 8"),
        (Layout(model=0), 8, "Layout.model = 0"),
        (Layout(data=-2), 8, "Layout.data = -2"),
    ],
)
def test_a_layout_that_does_not_fit(layout, devices, words):
    with pytest.raises(UserError, match=words):
        layout.on(devices)


@pytest.mark.parametrize(
    ("layout", "name", "what"),
    [
        (Layout(data=1, model=4), "Layout.model", "heads 6 is not divisible by model 4"),
        (Layout(data=1, fsdp=5), "Layout.fsdp", "embed 16 is not divisible by fsdp 5"),
        (
            Layout(data=1, expert=3),
            "Layout.expert",
            "group expert 4 is not divisible by expert 3; 2 or 4 would",
        ),
        (
            Layout(data=1, expert=8),
            "Layout.expert",
            "group expert 4 is not divisible by expert 8; 4 would do",
        ),
        (Layout(data=1, expert=2, microbatches=8), "train.batch_size", "microbatches 8 x expert 2"),
        (Layout(data=3), "train.batch_size", "batch_size 8 is not divisible by data 3"),
        (Layout(data=2, microbatches=8), "train.batch_size", "microbatches 8 x data 2"),
        (Layout(data=1, microbatches=0), "train.batch_size", "microbatches 0"),
        (Layout(stage=2, data=1), "Layout.schedule", "stage 2 needs a schedule"),
        (
            Layout(stage=4, data=1, schedule="gpipe", microbatches=6),
            "Layout.microbatches",
            "6 is not divisible by stage 4",
        ),
        (
            Layout(stage=4, data=1, schedule="gpipe", microbatches=4),
            "Layout.stage",
            "encoder layers 6 is not divisible by stage 4",
        ),
        (Layout(data=1, sequence=3), "Layout.sequence", "encoder length 8 is not divisible by sequence 3"),
        (
            Layout(stage=2, data=1, schedule="circular", repeats=3, microbatches=2),
            "Layout.repeats",
            "repeats 3 of 'circular' is not divisible by the 2 towers",
        ),
        (
            Layout(data=1, model=3, partitioning="manual"),
            "Layout.model",
            "8 examples x encoder length 8 per device (64 rows) is not divisible by model 3",
        ),
    ],
)
def test_what_divides_nothing_is_named_with_both_numbers(layout, name, what):
    problems = layouts.check(layout, 8, DIMENSIONS)
    assert any(found == name and what in text for found, text in problems), problems


def test_a_layout_that_divides_all_is_silent():
    assert layouts.check(Layout(data=2, fsdp=2, model=2), 8, {"heads": 6, "embed": 16}) == []
