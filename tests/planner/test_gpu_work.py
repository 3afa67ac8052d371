"""Programs for GPUs, counted by FLOPs and bytes: a text by hand, and one that XLA compiled for H100s."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from pangu_jax.planner import cost
from pangu_jax.planner.gpu_work import BANDWIDTH, MATMUL
from tests.planner import compiled_texts as texts
from tpu_npu_backends import compiling, gpu, selection, topologies

needs_plugin = pytest.mark.skipif(
    not any(importlib.util.find_spec(name) for name in gpu.PLUGINS),
    reason="JAX's plugin for CUDA is not installed: pip install 'pangu-jax[cuda-compile]'",
)
EIGHT = topologies.parse("h100:1x8")
BYTES_PER_S = BANDWIDTH * EIGHT.chip.hbm_bytes_per_s
LAYER = 1024 * 1024 * 2
GATHER_S = 8192 * 1024 * 2 * 7 / 8 / 450e9 + 3e-6

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
    assert found.exposed_seconds == pytest.approx(GATHER_S if waits else GATHER_S - before_done)


def test_a_kernel_that_is_not_known_is_said():
    text = (
        PROGRAM.replace("SYNC", "true")
        .replace("CUT", CUT)
        .replace("__cublas$lt$matmul", "__cudnn$fmhaSoftmax")
    )
    assert cost.report(text, EIGHT, {"data": 8}).notes == ("kernels without a price: product",)


def test_attention_of_short_rows_takes_its_bytes():
    found = cost.report(texts.SHORT_ON_GPU, EIGHT, {"data": 8})
    assert found.kernel_flops == 5 * 2 * 64 * 20 * 64 * 64 * 128  # rows in blocks of 64
    assert found.compute_seconds == pytest.approx(2 * 64 * 49 * 20 * 128 * (3 + 1 + 3) / BYTES_PER_S)
    assert found.compute_seconds == found.kernel_seconds and not found.notes


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
