"""What GPUs compute with: seen in programs compiled for one that is not here, and in what is refused."""

import importlib.util
import re

import jax
import jax.numpy as jnp
import pytest

from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.numbers import numbers
from tpu_npu_backends import compiling, gpu_numbers, local_devices, topologies
from tpu_npu_backends.errors import BackendError

needs_plugin = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None, reason="no plugin for CUDA"
)


@pytest.mark.parametrize(
    ("platform", "compute_dtype", "attention", "expected"),
    [
        ("cuda", "auto", "auto", "bfloat16, attention by cuDNN"),
        ("cuda", "auto", "plain", "bfloat16"),
        ("cuda", "float32", "auto", "float32"),
        ("tpu", "float32", "flash", "float32, attention by splash attention"),
        ("cpu", "auto", "auto", "float32"),
    ],
)
def test_what_a_layout_computes_with(platform, compute_dtype, attention, expected):
    layout = Layout(compute_dtype=compute_dtype, attention=attention)
    assert numbers(layout, platform).describe() == expected


@pytest.mark.parametrize(
    ("platform", "capability", "layout", "said"),
    [
        (
            "cuda",
            "9.0",
            Layout(compute_dtype="float32", attention="flash"),
            "takes bfloat16, not float32; take",
        ),
        ("cpu", "", Layout(attention="flash"), "on cpu: it has no kernel; take Layout.attention = 'plain'"),
        ("cuda", "7.5", Layout(compute_dtype="bfloat16"), "compute capability 7.5 has none"),
    ],
)
def test_what_is_refused(platform, capability, layout, said):
    with pytest.raises(UserError, match=said) as raised:
        numbers(layout, platform, capability)
    assert "\n" not in str(raised.value)


def test_a_card_without_bfloat16_has_float32_and_plain_attention():
    assert numbers(Layout(), "cuda", "7.0").describe() == "float32"


def test_devices_of_a_process():
    assert local_devices.chosen({}) is None
    assert local_devices.chosen({"PANGU_LOCAL_DEVICES": "2,3"}) == [2, 3]
    assert local_devices.chosen({"PANGU_LOCAL_DEVICES": "one", "SLURM_LOCALID": "5"}) == [5]
    with pytest.raises(BackendError, match="no launcher says which task of the node"):
        local_devices.chosen({"PANGU_LOCAL_DEVICES": "one"})
    with pytest.raises(BackendError, match="'0-3': it is numbers"):
        local_devices.chosen({"PANGU_LOCAL_DEVICES": "0-3"})


def _compiled(function, *shapes, **options) -> str:
    topology = topologies.parse("h100:1x1")
    here = jax.sharding.SingleDeviceSharding(topologies.devices(topology)[0])
    arrays = [jax.ShapeDtypeStruct(shape, dtype, sharding=here) for shape, dtype in shapes]
    with gpu_numbers.as_on("cuda"):
        lowered = jax.jit(function).lower(*arrays)
    return compiling.compile_for(topology, lowered, **options).as_text() or ""


@needs_plugin
def test_products_of_float32_are_no_tf32():
    text = _compiled(jnp.dot, *[((256, 256), jnp.float32)] * 2)
    assert re.search(r'__cublas.*"operand_precision":\["HIGHEST","HIGHEST"\]', text)


@needs_plugin
def test_deterministic_sums_without_atomics(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = (
        jax.grad(lambda table, rows: jnp.sum(table[rows] ** 2)),
        ((64, 8), jnp.float32),
        ((4, 32), jnp.int32),
    )
    plain, settled = _compiled(*arguments), _compiled(*arguments, **gpu_numbers.deterministic())
    # Where a row may come twice, threads that add to it do so by atomics.
    may_repeat = r"scatter\((?!.*unique_indices=true)"
    assert re.search(may_repeat, plain)
    assert not re.search(may_repeat, settled)
    assert "sort(" in settled
