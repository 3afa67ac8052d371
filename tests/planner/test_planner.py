"""The search over layouts: everything it offers can be carried out, and it is quick."""

import dataclasses
import math
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from data_pipelines.text.synthetic import SyntheticTokens
from pangu_jax.errors import UserError
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import AXES, Layout
from pangu_jax.planner import planner, predictions
from pangu_jax.planner.candidates import cross, meshes
from pangu_jax.planner.filters import divided, mesh_problem
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from tpu_npu_backends import topologies

V5P_512 = topologies.parse("v5p:8x8x8")


def model_of(batch_size=1024, encoder=1024, decoder=1024, **config) -> predictions.PlannedModel:
    """A model to plan for: the 107B one unless given another."""
    large = {
        "vocab_size": 131072, "d_model": 10240, "d_ff": 40960, "heads": 80, "gated": False,
        "encoder_layers": 36, "decoder_layers": 36,
    }  # fmt: skip
    workload = LanguageModel(
        EncoderDecoderConfig(**(large | config)),
        SyntheticTokens(encoder_length=encoder, decoder_length=decoder),
    )
    return predictions.describe(workload, batch_size, optimizer_bytes=8.0)


def small(**changes) -> predictions.PlannedModel:
    """A model that any chip holds."""
    data = {"batch_size": 32, "encoder": 128, "decoder": 64}
    shape = {"vocab_size": 4096, "d_model": 256, "d_ff": 1024, "heads": 8, "encoder_layers": 4}
    return model_of(**(data | shape | {"decoder_layers": 8} | changes))


@given(
    name=st.sampled_from(["v5p:2x2x2", "v5e:4x4", "tpu7x:2x2x2", "cpu:6", "cpu:8", "h100:2x8"]),
    heads=st.sampled_from([4, 6, 8]),
    layers=st.integers(1, 12),
    batch_size=st.integers(1, 64),
)
def test_every_candidate_uses_all_devices_and_divides(name, heads, layers, batch_size):
    topology = topologies.parse(name)
    model = small(heads=heads, head_dim=32, encoder_layers=layers, batch_size=batch_size)
    good = [mesh for mesh in meshes(topology.device_count) if not mesh_problem(model, topology, mesh)]
    candidates = divided(model, cross(good, batch_size, 2, {}), Counter())
    assume(len(candidates))
    devices = math.prod(getattr(candidates, axis) for axis in AXES)
    assert np.all(devices == topology.device_count)
    for row in range(0, len(candidates), 1 + len(candidates) // 20):
        layout = candidates.layout(row)
        assert layouts.check(layout, batch_size, model.dimensions) == []
        assert layout.on(topology.device_count) == layout


@given(st.integers(1, 2000))
def test_meshes_are_all_products_of_the_chips_each_once(chips):
    found = [tuple(mesh.values()) for mesh in meshes(chips)]
    assert all(math.prod(sizes) == chips for sizes in found)
    assert len(set(found)) == len(found)


def test_ten_thousand_candidates_are_searched_in_seconds():
    model = model_of()
    began = time.perf_counter()
    found = planner.search(model, V5P_512)
    assert time.perf_counter() - began < 10
    assert found.divided >= 10_000
    assert found.considered > found.divided > found.feasible > 0
    steps = [prediction.step_s for prediction in found.ranking]
    assert steps == sorted(steps) and len(steps) == 10
    assert all(prediction.bytes_per_device <= found.limit_bytes for prediction in found.ranking)


def test_what_was_best_among_compiled_programs_is_near_the_top():
    """107B on 512 chips: tensor 8 on one torus axis, FSDP 8 x 8, saved products, no pipeline."""
    first = planner.search(model_of(), V5P_512, top=1).ranking[0]
    assert (first.layout.schedule, first.layout.remat, first.layout.partitioning) == (
        "none",
        "dots",
        "manual",
    )
    layout = Layout(fsdp=64, model=8, remat="dots", partitioning="manual", streams=2)
    compiled = predictions.predict(model_of(), V5P_512, layout)
    assert compiled.step_s == pytest.approx(4.176, rel=0.2)
    assert compiled.bytes_per_device == pytest.approx(59.5 * 2**30, rel=0.1)
    assert compiled.step_s < 1.1 * first.step_s


def test_a_decoder_is_predicted_as_it_was_compiled():
    """`openpangu/7b.gin` on v5p:4x4x4: of one tower alone the program keeps what it is told to."""
    config = DecoderConfig(
        vocab_size=153376, d_model=4096, d_ff=12800, heads=32, kv_heads=8, layers=34, biases=True,
        tied_head=False, loss_chunks=8,
    )  # fmt: skip
    workload = LanguageModel(config, SyntheticTokens(encoder_length=0, decoder_length=4096))
    model = predictions.describe(workload, 256, optimizer_bytes=8.0)
    layout = Layout(fsdp=64, remat="dots", partitioning="manual")
    found = predictions.predict(model, topologies.parse("v5p:4x4x4"), layout)
    assert found.bytes_per_device == pytest.approx(58.2 * 2**30, rel=0.1)
    assert found.step_s == pytest.approx(2.64, rel=0.1)


def test_what_is_fixed_stays():
    fixed = {"stage": 4, "schedule": "1f1b", "remat": "full"}
    for prediction in planner.search(model_of(), V5P_512, top=5, fixed=fixed).ranking:
        assert {name: getattr(prediction.layout, name) for name in fixed} == fixed
        assert 0 < prediction.bubble < 1
    with pytest.raises(UserError, match="the search chooses no 'stages'"):
        planner.search(model_of(), V5P_512, fixed={"stages": 4})


def test_more_shards_take_less_memory():
    model = small(batch_size=64)
    for remat in ("none", "dots", "full"):
        sizes = [
            predictions.predict(model, V5P_512, Layout(data=64 // fsdp, fsdp=fsdp, model=8, remat=remat))
            for fsdp in (2, 4, 8, 16, 32)
        ]
        totals = [prediction.bytes_per_device for prediction in sizes]
        assert totals == sorted(totals, reverse=True) and totals[0] > totals[-1]


def test_remembering_less_takes_less_memory_and_full_remat_more_time():
    none, dots, full = (
        predictions.predict(model_of(), V5P_512, Layout(fsdp=64, model=8, remat=remat))
        for remat in ("none", "dots", "full")
    )
    assert none.bytes_per_device > dots.bytes_per_device > full.bytes_per_device
    assert 1.2 < full.compute_s / dots.compute_s < 1.4


def test_memory_of_1f1b_does_not_grow_with_microbatches():
    layout = Layout(stage=4, data=16, model=8, schedule="1f1b", repeats=2, remat="dots", zero=3)
    few, many = (
        predictions.predict(
            model_of(batch_size=16 * count), V5P_512, dataclasses.replace(layout, microbatches=count)
        )
        for count in (8, 64)
    )
    assert many.bytes_per_device == pytest.approx(few.bytes_per_device, rel=0.05)
    assert many.bubble < few.bubble


@pytest.mark.parametrize(
    ("name", "fixed", "words"),
    [
        ("v5p:2x2x1", {}, "the smallest needs .* GiB per chip, .*; the nearest that fits is v5p:2x4x4"),
        (
            "tpu7x:2x2x1",
            {},
            r"4 x tpu7x as 2x2x1 \(8 devices\): the smallest needs .* GiB per device, and of 94.8 GiB .*; "
            r"the nearest that fits is tpu7x:2x2x4 \(16 chips\)",
        ),
        ("v5p:6x6x6", {}, "batch_size 1024 is not divisible by data x fsdp 3"),
        ("v5p:8x8x8", {"stage": 5}, "no layout with stage 5 divides .*: no mesh of that many chips"),
    ],
)
def test_a_model_that_fits_nowhere_is_one_line(name, fixed, words):
    with pytest.raises(UserError, match=words) as caught:
        planner.search(model_of(), topologies.parse(name), fixed=fixed)
    assert "\n" not in str(caught.value)


def test_the_nearest_that_fits_does_fit():
    search = planner.search(model_of(), topologies.parse("v5p:2x4x4"), top=1)
    assert search.feasible


def test_a_layout_that_does_not_divide_is_refused_with_both_numbers():
    with pytest.raises(UserError, match="heads 80 is not divisible by model 32"):
        predictions.predict(model_of(), V5P_512, Layout(fsdp=16, model=32))


def test_the_bindings_say_the_whole_layout():
    layout = Layout(stage=2, data=4, schedule="1f1b", repeats=2, microbatches=4)
    lines = planner.bindings(layout).splitlines()
    assert "Layout.stage = 2" in lines and "Layout.schedule = '1f1b'" in lines and "Layout.model = 1" in lines
    assert len(lines) == len(dataclasses.fields(Layout))


def test_the_best_layout_of_one_device_is_one_device():
    workload = LanguageModel(EncoderDecoderConfig(), SyntheticTokens())
    layout = planner.best_layout(workload, 8, topologies.parse("cpu:1"))
    assert layout.describe() == "one device"
    assert layout.partitioning == "auto"
