"""Programs for GPUs: the compiler's own times and what corrects them, by hand and for absent H100s."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from data_pipelines.text.synthetic import SyntheticTokens
from pangu_jax.parallel.layout import AXES, Layout
from pangu_jax.planner import cost
from pangu_jax.planner.gpu_work import BANDWIDTH, MATMUL
from pangu_jax.training.compiling import lower_step
from pangu_jax.training.optimizers import adamw
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from tests.planner import compiled_texts as texts
from tpu_npu_backends import compiling, gpu, selection, topologies

needs_plugin = pytest.mark.skipif(
    not any(importlib.util.find_spec(name) for name in gpu.PLUGINS),
    reason="JAX's plugin for CUDA is not installed: pip install 'pangu-jax[cuda-compile]'",
)
EIGHT = topologies.parse("h100:1x8")
BYTES_PER_S = BANDWIDTH * EIGHT.chip.hbm_bytes_per_s
LAYER = 1024 * 1024 * 2
SCATTER_S = 8192 * 1024 * 2 * 7 / 8 / (0.75 * 450e9) + 25e-6  # as a gather
# What XLA writes of an instruction: of a fusion by its model of chips first, then by its tables.
TOLD = '"reification_cost":[{"end_to_end_cycles":0,"exec_time_us":US,"compute_time_us":0,\
"memory_access_time_us":0,"name":"sol"}]'

# A product, a layer put into a stack in place and cut from it again, and a gather that may lie over them.
PROGRAM = """HloModule jit_f, is_scheduled=true

%put (stack: bf16[38,1024,1024], layer: bf16[1024,1024], at: s32[]) -> bf16[38,1024,1024] {
  %stack = bf16[38,1024,1024]{2,1,0} parameter(0)
  %layer = bf16[1024,1024]{1,0} parameter(1)
  %one = bf16[1,1024,1024]{2,1,0} bitcast(%layer)
  %at = s32[] parameter(2)
  %zero = s32[] constant(0)
  ROOT %dus = bf16[38,1024,1024]{2,1,0} dynamic-update-slice(%stack, %one, %at, %zero, %zero)
}

%cut (stack: bf16[38,1024,1024], at: s32[]) -> bf16[1,1024,1024] {
  %stack = bf16[38,1024,1024]{2,1,0} parameter(0)
  %at = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %ds = bf16[1,1024,1024]{2,1,0} CUT
}

ENTRY %main (a: bf16[1024,1024], b: bf16[1024,1024], stack: bf16[38,1024,1024], at: s32[]) \
-> bf16[1,1024,1024] {
  %a = bf16[1024,1024]{1,0} parameter(0)
  %b = bf16[1024,1024]{1,0} parameter(1)
  %stack = bf16[38,1024,1024]{2,1,0} parameter(2)
  %at = s32[] parameter(3)
  %gather-start = (bf16[1024,1024]{1,0}, bf16[8192,1024]{1,0}) all-gather-start(%a), \
replica_groups=mesh['data'=8] {'data'}, dimensions={0}, \
backend_config={"collective_backend_config":{"is_sync":SYNC}}
  %product = (bf16[1024,1024]{1,0}, s8[4194304]{0}) custom-call(%a, %b), \
custom_call_target="__cublas$lt$matmul", \
backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],\
"rhs_contracting_dimensions":["0"],"lhs_batch_dimensions":[],"rhs_batch_dimensions":[]}}}
  %layer = bf16[1024,1024]{1,0} get-tuple-element(%product), index=0
  %put.1 = bf16[38,1024,1024]{2,1,0} fusion(%stack, %layer, %at), kind=kLoop, calls=%put
  %gather-done = bf16[8192,1024]{1,0} all-gather-done(%gather-start)
  ROOT %cut.1 = bf16[1,1024,1024]{2,1,0} fusion(%put.1, %at), kind=kLoop, calls=%cut
}
"""


CUT = """dynamic-slice(%stack, %at, %zero, %zero), dynamic_slice_sizes={1,1024,1024}"""
FIRST = """slice(%stack), slice={[0:1], [0:1024], [0:1024]}"""


@pytest.mark.parametrize("cut", [CUT, FIRST], ids=["anywhere", "the first"])
@pytest.mark.parametrize("waits", [False, True], ids=["beside", "at once"])
def test_products_by_flops_and_what_is_cut_by_what_is_cut(waits, cut):
    text = PROGRAM.replace("SYNC", json.dumps(waits)).replace("CUT", cut)
    found = cost.report(text, EIGHT, {"data": 8})
    product = 2 * 1024**3
    in_place = 4 * LAYER + 2 * 4  # read and written, twice, and where
    computed = product / (MATMUL * EIGHT.chip.peak_flops) + in_place / BYTES_PER_S
    assert found.matmul_flops == product and not found.notes
    assert found.compute_seconds == pytest.approx(computed)
    before_done = computed - (2 * LAYER + 4) / BYTES_PER_S
    assert found.exposed_seconds == pytest.approx(SCATTER_S if waits else SCATTER_S - before_done)


def counted(text: str, told: float | None = None, **replaced: str) -> cost.CostReport:
    """The count of a program of one instruction; `told` is the compiler's microseconds of it."""
    said = "" if told is None else TOLD.replace("US", str(told))
    for name, value in {"SAID": said, **replaced}.items():
        text = text.replace(name, value)
    return cost.report(text, EIGHT, {"data": 8})


def test_the_compilers_own_time_counts():
    assert counted(texts.PRODUCT_ON_GPU, 20.5, OUT="bf16", BATCH="").compute_seconds == pytest.approx(20.5e-6)
    fused = counted(texts.FUSION_ON_GPU, 7.25, KIND="")
    assert fused.compute_seconds == pytest.approx(7.25e-6)


def test_a_product_that_gives_float32_is_priced_by_flops():
    found = counted(texts.PRODUCT_ON_GPU, 90_000.0, OUT="f32", BATCH="")
    assert found.matmul_flops == 2 * 8 * 4096 * 4096 * 4096
    assert found.compute_seconds == pytest.approx(found.matmul_flops / (MATMUL * EIGHT.chip.peak_flops))


def test_a_batched_product_is_priced_by_flops_or_bytes():
    found = counted(texts.PRODUCT_ON_GPU, 90_000.0, OUT="bf16", BATCH='"0"')
    assert found.compute_seconds == pytest.approx(found.matmul_flops / (MATMUL * EIGHT.chip.peak_flops))
    small = texts.PRODUCT_ON_GPU.replace("4096", "64")
    found = counted(small, 90_000.0, OUT="bf16", BATCH='"0"')
    assert found.compute_seconds == pytest.approx(3 * 8 * 64 * 64 * 2 / BYTES_PER_S)


def test_a_fusion_of_tritons_is_priced_by_bytes():
    found = counted(texts.FUSION_ON_GPU, 1e9, KIND='"kind":"__triton",')
    assert found.compute_seconds == pytest.approx(2 * 4096 * 4096 * 2 / BYTES_PER_S)


def test_a_reduce_scatter_takes_what_a_gather_does_and_inside_a_node_the_compiler_says_what():
    text = PROGRAM.replace("CUT", CUT).replace("SYNC", "true")
    scatter = text.replace("all-gather-start(%a)", "reduce-scatter-start(%whole)").replace(
        "all-gather-done", "reduce-scatter-done"
    )
    scatter = scatter.replace("  %b = ", "  %whole = bf16[8192,1024]{1,0} parameter(4)\n  %b = ")
    (gather,), (scattered,) = (cost.report(one, EIGHT, {"data": 8}).collectives for one in (text, scatter))
    assert scattered.kind == "reduce-scatter"
    assert scattered.seconds == gather.seconds == pytest.approx(SCATTER_S)
    told = text.replace(
        '"collective_backend_config"', TOLD.replace("US", "77.5") + ',"collective_backend_config"'
    )
    (gather,) = cost.report(told, EIGHT, {"data": 8}).collectives
    assert gather.seconds == pytest.approx(77.5e-6)
    # Over two nodes the compiler reckons with a network that is not the cluster's.
    two = told.replace("'data'=8", "'data'=16")
    (gather,) = cost.report(two, topologies.parse("h100:2x8"), {"data": 16}).collectives
    between = 16384 * 1024 * 2 / 2 / 8 / (0.65 * 50e9)
    inside = 16384 * 1024 * 2 * 7 / 8 / (0.75 * 450e9)
    assert gather.seconds == pytest.approx(max(between, inside) + 2 * 40e-6 + 25e-6)


@pytest.mark.parametrize(("backward", "products"), [("", 2), ("Backward", 5)])
@pytest.mark.parametrize("mask", ["NO_MASK", "CAUSAL"])
def test_attention_by_cudnn_is_priced_by_flops(backward, products, mask):
    found = counted(texts.CUDNN_ATTENTION, BACKWARD=backward, MASK=mask)
    pairs = 16 * 32 * 4096 * 4096 // (2 if mask == "CAUSAL" else 1)
    assert found.kernel_flops == products * 2 * pairs * 128 and not found.notes
    assert found.kernel_seconds == found.compute_seconds == pytest.approx(found.kernel_flops / (0.5 * 989e12))


def test_a_kernel_that_is_not_known_is_said():
    text = PROGRAM.replace("SYNC", "true").replace("CUT", CUT).replace("__cublas$lt$matmul", "__cudnn$conv")
    assert cost.report(text, EIGHT, {"data": 8}).notes == ("kernels without a price: product",)


def test_attention_of_short_rows_takes_its_bytes():
    found = cost.report(texts.SHORT_ON_GPU, EIGHT, {"data": 8})
    assert found.kernel_flops == 5 * 2 * 64 * 20 * 64 * 64 * 128  # rows in blocks of 64
    assert found.compute_seconds == pytest.approx(2 * 64 * 49 * 20 * 128 * (3 + 1 + 3) / BYTES_PER_S)
    assert found.compute_seconds == found.kernel_seconds and not found.notes


@needs_plugin
def test_products_are_six_times_parameters_times_tokens():
    """Of a whole step, and what plain attention computes beyond a causal mask."""
    config = EncoderDecoderConfig(
        vocab_size=4096, d_model=256, d_ff=1024, heads=4, encoder_layers=2, decoder_layers=2
    )
    workload = LanguageModel(config, SyntheticTokens(encoder_length=256, decoder_length=128))
    topology = topologies.parse("h100:1x1")
    selection.select("cpu")
    lowered = lower_step(
        workload, adamw(), Layout(data=1, remat="none"), 4, topologies.devices(topology), "cuda"
    )
    found = cost.report(compiling.compile_for(topology, lowered).as_text(), topology, dict.fromkeys(AXES, 1))
    masked = 12 * 256 * 2 * 128 * 128 / 2  # of queries that causal attention may not see, two layers
    assert found.matmul_flops + found.kernel_flops == pytest.approx(
        workload.flops_per_step(4) + 4 * masked, rel=0.01
    )
    assert found.compute_seconds > 0 and not found.notes


@needs_plugin
def test_a_program_for_absent_gpus_has_its_flops_and_collectives():
    """A product whose weight is gathered over two nodes."""
    selection.select("cpu")
    topology = topologies.parse("h100:2x8")
    devices = topologies.devices(topology)
    assert [device.process_index for device in devices] == [0] * 8 + [1] * 8
    mesh = Mesh(devices, ("fsdp",))
    x, w = (
        jax.ShapeDtypeStruct((4096, 4096), jnp.bfloat16, sharding=NamedSharding(mesh, spec))
        for spec in (P("fsdp"), P("fsdp"))
    )
    found = cost.report(
        compiling.compile_for(topology, jax.jit(lambda x, w: x @ w).lower(x, w)).as_text(),
        topology,
        {"fsdp": 16},
    )
    assert found.matmul_flops == 2 * 4096**3 / 16
    assert {(c.kind, c.axes) for c in found.collectives} == {("all-gather", ("fsdp",))}
