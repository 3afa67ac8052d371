"""The count of a compiled step: on texts by hand, and on small programs whose FLOPs and bytes are known."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from pangu_jax.planner import cost, hlo
from tests.planner import compiled_texts as texts
from tpu_npu_backends import compiling, topologies

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install 'pangu-jax[tpu]'"
)
V5P = topologies.parse("v5p:8x8x8")
CUBE = {"data": 8, "fsdp": 8, "model": 8}
ALONG_DATA = "[64,8]<=[8,64]T(1,0)"
BY_NAMES = "mesh['axis_0'=64,'axis_1'=8], device_ids=([8,64]T(1,0)) {'axis_1'}"
# 512 x 10^6 bfloat16 gathered over 8 chips that fill a ring: two links of 90 GB/s, 4 hops each way round.
GATHER_S = 512e6 * 2 * 7 / 8 / 180e9 + 4e-6


@pytest.mark.parametrize(("limit", "step", "trips"), [(5, 1, 5), (6, 2, 3), (7, 2, 4), (0, 1, 0)])
def test_a_loop_multiplies_what_its_body_costs(limit, step, trips):
    report = cost.report(texts.LOOP.format(limit=limit, step=step), V5P, CUBE)
    assert report.matmul_flops == trips * 2 * 256 * 512 * 512
    assert report.compute_seconds == pytest.approx(trips * 3500 / 1.75e9)
    assert not report.notes
    if trips:
        assert [(c.op_name, c.count) for c in report.top] == [("jit(f)/while/body/dot_general", trips)]


def test_a_loop_whose_length_is_not_told_is_counted_once_and_said():
    text = texts.LOOP.format(limit=5, step=1).replace("constant(0)", "parameter(2)")
    report = cost.report(text, V5P, CUBE)
    assert report.matmul_flops == 2 * 256 * 512 * 512
    assert report.notes == ("loops of unknown length, counted once: while.24",)


@pytest.mark.parametrize(
    ("before", "after", "exposed"),
    [
        (texts.SYNCHRONOUS.replace("GROUPS", ALONG_DATA), "", GATHER_S),
        (texts.SYNCHRONOUS.replace("GROUPS", BY_NAMES), "", GATHER_S),
        (texts.SPARSE_CORE_START, texts.SPARSE_CORE_DONE, GATHER_S - 1e-3),
        (texts.SPARSE_CORE_START + "\n" + texts.SPARSE_CORE_DONE, "", GATHER_S),
    ],
    ids=["synchronous", "groups by names", "over a product", "waited for at once"],
)
def test_what_lies_between_start_and_done_hides_a_collective(before, after, exposed):
    text = texts.AROUND.format(before=before, after=after, groups=ALONG_DATA)
    report = cost.report(text, V5P, CUBE)
    assert report.compute_seconds == pytest.approx(1e-3)
    assert report.exposed_seconds == pytest.approx(exposed)
    (gather,) = report.collectives
    assert (gather.kind, gather.axes, gather.count) == ("all-gather", ("data",), 1)
    assert gather.bytes == pytest.approx(512e6 * 2 * 7 / 8)
    assert gather.seconds == pytest.approx(GATHER_S)


def test_a_permute_goes_over_one_link_and_round_the_ring():
    text = texts.AROUND.format(before=texts.PERMUTE_START, after=texts.PERMUTE_DONE, groups=ALONG_DATA)
    (permute,) = cost.report(text, V5P, CUBE).collectives
    assert (permute.kind, permute.axes, permute.bytes) == ("collective-permute", ("data",), 128e6)
    assert permute.seconds == pytest.approx(128e6 / 90e9 + 1e-6)
    assert permute.exposed_seconds == pytest.approx(permute.seconds - 1e-3)


def test_one_that_is_never_waited_for_is_said():
    text = texts.AROUND.format(before=texts.SPARSE_CORE_START, after="", groups=ALONG_DATA)
    report = cost.report(text, V5P, CUBE)
    assert report.exposed_seconds == 0
    assert report.notes == ("never waited for, taken as hidden: all-gather.7.cloned.1.call-start",)


def test_two_over_the_same_links_go_one_after_the_other():
    both = [texts.SPARSE_CORE_START, texts.SPARSE_CORE_DONE]
    start, done = [text.replace("all-gather.7.", "all-gather.9.") for text in both]
    text = texts.AROUND.format(before=f"{both[0]}\n{start}", after=f"{both[1]}\n{done}", groups=ALONG_DATA)
    (gathers,) = cost.report(text, V5P, CUBE).collectives
    assert gathers.count == 2
    assert gathers.exposed_seconds == pytest.approx(2 * GATHER_S - 1e-3)


def test_what_has_no_cycles_is_priced_by_its_bytes():
    report = cost.report(texts.BY_PLACE, V5P, CUBE)
    moved = 2 * (
        512 * 256 * 2 + 4096 * 4 + 512 * 256 * 2
    )  # a fused gather, a sort, a scatter: read and written
    assert report.compute_seconds == pytest.approx(moved / (0.9 * V5P.chip.hbm_bytes_per_s))


def test_a_fused_all_reduce_that_keeps_one_part_is_a_reduce_scatter():
    (scatter,) = cost.report(texts.FUSED_SCATTER, V5P, CUBE).collectives
    assert (scatter.kind, scatter.axes) == ("reduce-scatter", ("model",))
    assert scatter.bytes == 2 * 160 * 1024 * 2 * 7 / 8
    assert scatter.exposed_seconds == scatter.seconds


def test_attention_kernels_are_priced_from_their_flops():
    report = cost.report(texts.SPLASH, V5P, CUBE)
    # Two products; of 4 x 4 blocks a causal mask has 10.
    assert report.kernel_flops == 2 * 2 * (2 * 4) * 2048 * 2048 * 128 * 10 / 16
    assert report.kernel_seconds == pytest.approx(report.kernel_flops / 459e12 / 0.5)
    unknown = texts.SPLASH.replace("splash_mha_fwd_residuals", "my_kernel")
    assert cost.report(unknown, V5P, CUBE).notes == ("kernels without a price: my_kernel.27",)


def test_attention_of_short_rows_takes_its_tiles_or_its_bytes():
    flops, moved = 4697620480, 64225280  # 2 products of 56 x 128 tiles; what is read and written
    text = texts.SHORT_ON_TPU.replace("FLOPS", str(flops)).replace("BYTES", str(moved))
    report = cost.report(text, V5P, CUBE)
    assert report.kernel_flops == flops
    assert report.compute_seconds == report.kernel_seconds == pytest.approx(flops / (0.25 * 459e12))
    slow = cost.report(text.replace(str(moved), str(100 * moved)), V5P, CUBE)
    assert slow.compute_seconds == pytest.approx(100 * moved / (0.9 * V5P.chip.hbm_bytes_per_s))


def test_of_rows_by_group_those_with_a_token_are_counted():
    flops = 4697620480
    text = texts.SHORT_ON_TPU.replace("FLOPS", str(flops)).replace("BYTES", "1")
    text = text.replace("short_attention", "gmm")
    whole = cost.report(text, V5P, CUBE)
    assert whole.kernel_flops == flops
    assert whole.kernel_seconds == pytest.approx(flops / (0.65 * 459e12))
    quarter = cost.report(text.replace("jit(s)/", "jit(s)/filled_0.2500/"), V5P, CUBE)
    assert quarter.kernel_flops == flops / 4


def test_of_branches_the_dearest_is_counted():
    report = cost.report(texts.BRANCHES, V5P, CUBE)
    assert report.matmul_flops == 2 * 2 * 64**3
    assert report.notes == ("conditionals, the dearest branch counted: conditional.5",)


def test_a_report_is_a_table():
    text = texts.AROUND.format(
        before=texts.SPARSE_CORE_START, after=texts.SPARSE_CORE_DONE, groups=ALONG_DATA
    )
    report = cost.report(text, V5P, CUBE)
    table = report.table()
    assert "all-gather           data                   1     0.896" in table
    assert "jit(g)/neg" in table
    compute_only, with_exposed = report.mfu(512 * 459e12 * 1e-3 * 0.5)
    assert compute_only == pytest.approx(0.5)
    assert with_exposed == pytest.approx(0.5e-3 / report.step_seconds)


def test_what_is_no_program_is_refused():
    with pytest.raises(hlo.HloError, match="no ENTRY computation"):
        cost.report("<html>", V5P, CUBE)


@pytest.mark.parametrize("unroll", [1, 2])
@pytest.mark.parametrize("topology", ["cpu:4", pytest.param("v5p:2x2x1", marks=needs_libtpu)])
def test_flops_and_bytes_of_a_compiled_scan(topology, unroll):
    """7 layers of x @ w, w gathered over `fsdp` and the result summed over `model`, on 2 x 2 devices."""
    topology = topologies.parse(topology)
    devices = sorted(topologies.devices(topology), key=lambda device: device.id)
    mesh = Mesh(np.array(devices).reshape(2, 2), ("fsdp", "model"))

    def local(x_BxD, w_LxDxF):
        def layer(x_BxD, w_DxF):
            w_DxF = jax.lax.all_gather(w_DxF, "fsdp", axis=0, tiled=True)
            return jax.lax.psum(jnp.tanh(x_BxD @ w_DxF) @ w_DxF.T, "model"), None

        return jax.lax.scan(layer, x_BxD, w_LxDxF, unroll=unroll)[0]

    specs = (P("fsdp", None), P(None, "fsdp", "model"))
    step = jax.jit(
        jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P("fsdp", None), check_vma=False)
    )
    x, w = (
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))
        for shape, spec in (((64, 256), specs[0]), ((7, 256, 512), specs[1]))
    )
    text = compiling.compile_for(topology, step.lower(x, w)).as_text()
    report = cost.report(text, topology, {"fsdp": 2, "model": 2}, [d.id for d in mesh.devices.flat])
    assert report.matmul_flops == 7 * 2 * 2 * 32 * 256 * 256
    sent = {(c.kind, c.axes): (c.count, c.bytes) for c in report.collectives}
    gathered = 2 if topology.chip.name == "v5p" else 4  # bytes: TPU gathers what its products take, bfloat16
    assert sent == {
        ("all-gather", ("fsdp",)): (7, 7 * 256 * 256 * gathered / 2),
        ("all-reduce", ("model",)): (7, 7 * 32 * 256 * 4),
    }
    assert (report.compute_seconds > 0) == (topology.chip.name == "v5p")


@needs_libtpu
def test_the_compilers_cycles_of_a_large_product_are_near_the_roofline():
    topology = topologies.parse("v5p:1x1x1")
    on = SingleDeviceSharding(topologies.devices(topology)[0])
    x = jax.ShapeDtypeStruct((2048, 2048), jnp.bfloat16, sharding=on)
    text = compiling.compile_for(topology, jax.jit(jnp.dot).lower(x, x)).as_text()
    report = cost.report(text, topology, {"data": 1})
    assert report.matmul_flops == 2 * 2048**3
    assert 0.7 < report.mfu(report.matmul_flops)[0] <= 1  # 0.77; larger products come nearer
