"""Predicted passes over the rows of experts: as many as the model has, none where there are no experts."""

import dataclasses

import jax
import numpy as np
import pytest

from data_pipelines.text.synthetic import SyntheticTokens
from pangu_jax.models import grouped_products
from pangu_jax.models.experts import ExpertsConfig
from pangu_jax.parallel.layout import Layout
from pangu_jax.planner import predictions
from pangu_jax.planner.candidates import Candidates
from pangu_jax.planner.routed_rows import passes, routed_rows, rows_of_a_block
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from tpu_npu_backends import topologies

GROUPED = ExpertsConfig(64, 1344, 8, "grouped", shared_d_ff=5376)
SIGMOID = dataclasses.replace(GROUPED, router="sigmoid")
V5P = topologies.parse("v5p:2x2x2")


def planned(experts, batch_size=32) -> predictions.PlannedModel:
    config = DecoderConfig(d_model=1024, layers=4, heads=8, experts=experts, d_ff=2048)
    return predictions.describe(
        LanguageModel(config, SyntheticTokens(decoder_length=4096)), batch_size, optimizer_bytes=8.0
    )


def of_a_layer(experts, layout, batch_size=32, topology=V5P):
    """The arrays of a layer, and the seconds of its passes."""
    model = planned(experts, batch_size)
    layout = layout.on(topology.device_count)
    context = predictions.search_context(model, topology, [layout.axis_sizes()])
    candidate = Candidates.of(layout, len(model.shape.staged))
    (tower,) = model.shape.towers
    return routed_rows(context, candidate, tower), passes(context, candidate, tower)


@pytest.mark.parametrize("experts", [GROUPED, SIGMOID])
@pytest.mark.parametrize("places", [1, 2, 8])
def test_there_is_a_row_for_each_pair_that_can_meet_on_a_device(experts, places):
    rows, _ = of_a_layer(experts, Layout(fsdp=8 // places, expert=places))
    everyones = 32 // 8 * 4096 * places
    meet = everyones * experts.most_at(64 // places)
    assert rows.wide == 2 * meet * 1024
    assert rows.inner == 2 * meet * 1344
    assert rows.tokens == 2 * everyones * 1024


def test_passes_grow_with_the_rows():
    small, large = (of_a_layer(GROUPED, Layout(fsdp=2, expert=4), size) for size in (32, 64))
    for one, two in zip(small[1], large[1], strict=True):
        assert 0 < 1.8 * one < two <= 2 * one
    assert of_a_layer(SIGMOID, Layout(fsdp=2, expert=4))[1].forward > 3 * small[1].forward


def test_what_is_kept_is_neither_gathered_nor_joined_again():
    kept, dots = (of_a_layer(GROUPED, Layout(fsdp=8, remat=remat))[1] for remat in ("none", "dots"))
    assert kept.forward == dots.forward
    assert kept.backward < dots.backward


def test_dense_layers_have_none():
    rows, seconds = of_a_layer(None, Layout(fsdp=8, remat="dots"))
    assert not any(np.any(array) for array in (*rows[:-1], *seconds))
    assert rows.filled == 1


def test_experts_take_longer_and_wait_longer_than_their_products():
    """By what kernels of rows by group reach, passes over rows, and a product that is made again."""
    layout = Layout(fsdp=2, expert=4, remat="dots", partitioning="manual")
    found = predictions.predict(planned(GROUPED), V5P, layout)
    flops = planned(GROUPED).flops / 8
    assert flops / found.compute_s < 0.65 * V5P.chip.peak_flops
    assert found.step_s - found.compute_s < sum(found.collectives.values())
    # What waits is what remat is told to keep, and no more.
    rows, _ = of_a_layer(GROUPED, layout)
    assert 4 * float(rows.kept[0]) < found.memory["activations"] < 8 * float(rows.kept[0])


@pytest.mark.parametrize("visits", [64, 4096, 65536, 2**22])
def test_blocks_of_rows_are_as_large_as_they_are_made(visits):
    assert rows_of_a_block(visits, 64) == grouped_products.groups_for("blocks", visits, 64, "cuda").block


def test_on_a_gpu_each_block_of_rows_has_a_copy_of_its_weights():
    layout, topology = Layout(fsdp=2, expert=4, remat="dots"), topologies.parse("h100:1x8")
    rows, seconds = of_a_layer(SIGMOID, layout, topology=topology)
    blocks = 32 // 8 * 4096 * 4 * 8 / 512 + 16 * 511 / 512
    assert rows.copies == pytest.approx(blocks / 16 * rows.weights)
    assert rows.filled == pytest.approx(32 // 8 * 4096 * 8 / (512 * blocks))  # empty rows are multiplied
    assert seconds.forward > 2 * rows.copies / topology.chip.hbm_bytes_per_s
    assert of_a_layer(SIGMOID, layout)[0].filled == 1


@pytest.mark.parametrize(("experts", "filled"), [(GROUPED, 1.0), (SIGMOID, 0.25)])
def test_the_part_of_rows_that_holds_a_token(experts, filled):
    assert experts.filled(16) == filled


def test_kernels_say_how_many_of_their_rows_are_expected():
    lie = grouped_products.Groups("megablox", 1, 8, filled=0.25)
    shapes = [jax.ShapeDtypeStruct(s, d) for s, d in (((8, 128), "float32"), ((2, 128, 128), "float32"))]

    def product(x, weight):
        return grouped_products.product(x, weight, np.array([4, 4], np.int32), False, lie).sum()

    text = jax.jit(jax.grad(product, (0, 1))).trace(*shapes).lower(lowering_platforms=("tpu",))
    assert text.as_text(debug_info=True).count("filled_0.2500") >= 2
