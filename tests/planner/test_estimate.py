"""What predictions are made of: FLOPs and parameters of a shape, links, items of memory."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.text.synthetic import SyntheticTokens
from pangu_jax.models.latent_attention import LatentWidths
from pangu_jax.parallel.layout import AXES, Layout
from pangu_jax.planner import predictions, time_estimate
from pangu_jax.planner.axis_costs import axis_costs, on_one_dimension
from pangu_jax.planner.links import HOP_S, Links
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from tpu_npu_backends import topologies

ONE = dict.fromkeys(AXES, 1)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("position", ["rotary", "relative"])
def test_a_shape_counts_the_parameters_and_the_flops_of_its_model(gated, tied, position):
    config = EncoderDecoderConfig(
        d_model=96, heads=4, head_dim=32, encoder_layers=3, gated=gated, tied_head=tied, position=position
    )
    workload = LanguageModel(config, SyntheticTokens(encoder_length=64, decoder_length=48))
    shape = workload.shape()
    joined, ff = 4 * 32, (3 if gated else 2) * 96 * config.d_ff
    weights = 4 * 96 * joined + ff  # of a layer without cross-attention
    expected = 6 * (3 * 64 * weights + 6 * (48 * (weights + 2 * 96 * joined) + 64 * 2 * 96 * joined))
    expected += 6 * 48 * 8192 * 96
    expected += 12 * joined * (3 * 64 * 64 + 6 * (48 * 48 / 2 + 48 * 64))  # causal pairs by half
    assert workload.flops_per_step(6) == pytest.approx(6 * expected, rel=1e-12)
    params = jax.tree.leaves(jax.eval_shape(workload.init, jax.random.key(0)).params)
    assert shape.parameters == pytest.approx(sum(leaf.size for leaf in params), rel=0.01)


def test_a_tensor_axis_that_fills_a_torus_dimension_has_two_links():
    topology = topologies.parse("v5p:8x8x8")
    link = topology.chip.link_bytes_per_s
    whole = axis_costs(topology, ONE | {"model": 8, "fsdp": 64})["model"]
    assert whole.seconds_per_byte == pytest.approx(7 / 8 / (2 * link))
    assert whole.latency_s == pytest.approx(7 * HOP_S)
    part = axis_costs(topology, ONE | {"model": 4, "fsdp": 128})["model"]
    assert part.seconds_per_byte == pytest.approx(3 / 4 / link)


def test_fsdp_gathers_ring_by_ring():
    """The first ring, over an eighth of the data, adds an eighth of the second's time."""
    topology = topologies.parse("v5p:8x8x8")
    cost = axis_costs(topology, ONE | {"model": 8, "fsdp": 64})["fsdp"]
    ring = 7 / 8 / (2 * topology.chip.link_bytes_per_s)
    assert cost.seconds_per_byte == pytest.approx(ring * (1 + 1 / 8))


def test_the_devices_of_a_chip_are_joined_faster_than_chips():
    topology = topologies.parse("tpu7x:4x4x8")
    share, inside = topology.chip.link_bytes_per_s / 2, topology.chip.inside_bytes_per_s
    two = axis_costs(topology, ONE | {"model": 2, "fsdp": 128})["model"]
    assert two.seconds_per_byte == pytest.approx(1 / 2 / inside)
    assert two.neighbour_s_per_byte == pytest.approx(1 / inside)
    four = axis_costs(topology, ONE | {"model": 4, "fsdp": 64})
    assert four["model"].seconds_per_byte == pytest.approx(3 / 4 / (2 * share))
    eight = axis_costs(topology, ONE | {"model": 8, "fsdp": 32})
    # Half of the whole comes over the ring of four chips, with a device's share of two links.
    assert eight["model"].seconds_per_byte == pytest.approx(1 / 2 / inside + 1 / 2 * 3 / 4 / (2 * share))
    assert eight["fsdp"].seconds_per_byte == pytest.approx((7 / 8 + 1 / 8 * 3 / 4) / (2 * share))


def test_inside_a_node_first():
    topology = topologies.parse("ascend910b:64")
    costs = axis_costs(topology, ONE | {"model": 8, "fsdp": 8})
    assert costs["model"].seconds_per_byte == pytest.approx(7 / 8 / topology.links.intra_bytes_per_s)
    assert costs["fsdp"].seconds_per_byte == pytest.approx(7 / 8 / topology.links.inter_bytes_per_s)


@pytest.mark.parametrize(
    ("name", "size", "stays"),
    [
        ("v5p:8x8x8", 8, True),
        ("v5p:8x8x8", 16, False),
        ("v5p:4x4x8", 8, True),
        ("h100:8x8", 16, False),
        ("tpu7x:4x4x4", 8, True),
        ("tpu7x:4x4x4", 16, False),
        ("v5p:4x4x4", 8, False),
    ],
)
def test_what_stays_on_one_dimension(name, size, stays):
    assert on_one_dimension(topologies.parse(name), size) == stays


@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]))
def test_stored_state_is_sixteen_bytes_a_parameter_over_its_shards(fsdp, model, stage):
    workload = LanguageModel(
        EncoderDecoderConfig(encoder_layers=4, decoder_layers=4), SyntheticTokens(encoder_length=128)
    )
    planned = predictions.describe(workload, 64, 8.0)
    schedule = {"schedule": "gpipe", "microbatches": 2} if stage > 1 else {}
    layout = Layout(stage=stage, data=64 // (fsdp * model * stage), fsdp=fsdp, model=model, **schedule)
    memory = predictions.predict(planned, topologies.parse("v5p:4x4x4"), layout).memory
    stored = memory["parameters"] + memory["optimizer"] + memory["gradients"]
    table = 8192 * 512
    layers = planned.shape.parameters - table
    assert stored == pytest.approx(16 * (layers / (fsdp * model * stage) + table / (fsdp * model)))
    assert all(size >= 0 for size in memory.values())


@given(st.sampled_from([1, 2, 4, 8, 16]))
def test_compute_alone_never_beats_the_peak(microbatches):
    workload = LanguageModel(EncoderDecoderConfig(), SyntheticTokens())
    planned = predictions.describe(workload, 64, 8.0)
    topology = topologies.parse("v5e:2x2")
    found = predictions.predict(planned, topology, Layout(data=4, microbatches=microbatches, remat="dots"))
    assert 0 < found.mfu < planned.flops / found.compute_s / (4 * topology.chip.peak_flops) < 1
    assert found.step_s >= found.compute_s


def test_a_predicted_step_is_the_same_in_every_process():
    """Sums over mesh axes go in the mesh's order: in that of a set, their last digits change by process."""
    work = time_estimate._Work(np.zeros(1), {})
    for axes in (("model", "fsdp", "sequence"), ("stage",), ("fsdp", "data", "expert", "sequence", "stage")):
        work = work.plus(time_estimate._Work(np.zeros(1), dict.fromkeys(axes, np.ones(1))))
    assert tuple(work.axes) == AXES


def test_one_round_a_tower_is_said_in_two_ways():
    """For a ring of both towers `repeats` 1 stands for 2."""
    workload = LanguageModel(EncoderDecoderConfig(), SyntheticTokens())
    model, topology = predictions.describe(workload, 16, 8), topologies.parse("v5p:2x2x1")
    for schedule in ("circular", "1f1b"):
        one, two = (
            predictions.predict(
                model, topology, Layout(stage=2, data=2, schedule=schedule, repeats=repeats, microbatches=4)
            )
            for repeats in (1, 2)
        )
        assert (one.step_s, one.memory) == (two.step_s, two.memory)


@pytest.mark.parametrize("query_rank", [24, None])
def test_a_shape_of_latent_attention_counts_its_parameters_and_flops(query_rank):
    latent = LatentWidths(rank=16, query_rank=query_rank, plain=12, rotary=4, value=12)
    config = DecoderConfig(d_model=96, heads=4, layers=3, latent=latent, tied_head=False, predictions=1)
    workload = LanguageModel(config, SyntheticTokens(decoder_length=48))
    queries = 96 * 24 + 24 * 4 * 16 if query_rank else 96 * 4 * 16
    layer = queries + 96 * 20 + 16 * 4 * 24 + 4 * 12 * 96 + 3 * 96 * config.d_ff
    ends = 2 * 2 * 96 * 8192 // 2 + 2 * 96 * 96  # two heads that are multiplied, and the join
    expected = 6 * 48 * (4 * layer + ends) + 4 * 12 * 4 * 14 * 48 * 48 / 2
    assert workload.flops_per_step(6) == pytest.approx(6 * expected, rel=1e-12)
    params = jax.tree.leaves(jax.eval_shape(workload.init, jax.random.key(0)).params)
    assert workload.shape().parameters == pytest.approx(sum(leaf.size for leaf in params), rel=0.01)


def test_on_a_gpu_scores_take_memory_and_time_where_no_kernel_attends():
    workload = LanguageModel(
        EncoderDecoderConfig(encoder_layers=4, decoder_layers=4),
        SyntheticTokens(encoder_length=2048, decoder_length=2048),
    )
    planned, topology = predictions.describe(workload, 32, 8.0), topologies.parse("h100:1x8")
    plain, fused, float32 = (
        predictions.predict(planned._replace(compute_dtype=dtype), topology, Layout(fsdp=8, attention=how))
        for how, dtype in (("plain", "auto"), ("auto", "auto"), ("auto", "float32"))
    )
    scores = 4 * 8 * 2048 * 2048  # of a device's examples
    assert plain.memory["working"] > fused.memory["working"] + 12 * scores
    assert plain.compute_s > fused.compute_s
    assert float32.memory["working"] > plain.memory["working"]  # cuDNN takes bfloat16


def test_on_a_gpu_the_loss_and_a_layer_share_their_room():
    """What is outside the layers is there when no layer is: of a layer what it takes beyond that counts."""
    small, large = (
        predictions.predict(
            predictions.describe(
                LanguageModel(
                    EncoderDecoderConfig(vocab_size=vocabulary, encoder_layers=4, decoder_layers=4),
                    SyntheticTokens(encoder_length=256, decoder_length=256),
                ),
                64,
                8.0,
            ),
            topologies.parse("h100:1x8"),
            Layout(fsdp=8, remat="full"),
        ).memory
        for vocabulary in (1024, 65536)
    )
    assert large["working"] == 0 < small["working"]
    assert large["vocabulary"] > small["vocabulary"] + small["working"]


@pytest.mark.parametrize("nodes", [1, 4])
def test_what_nccl_takes_is_predicted_as_it_is_counted(nodes):
    topology = topologies.parse(f"h100:{nodes}x8")
    found = axis_costs(topology, ONE | {"fsdp": 8 * nodes})["fsdp"]
    counted = Links(topology).collective("all-gather", 1e9, range(8 * nodes)).seconds
    assert found.latency_s + 1e9 * found.seconds_per_byte == pytest.approx(counted)
