"""Backends by name: what a name promises, and one line where it cannot be kept."""

import logging

import jax
import pytest

from tpu_npu_backends import gpu, peak, selection
from tpu_npu_backends.errors import BackendError


@pytest.mark.parametrize(("name", "count"), [("cpu", 1), ("cpu:4", 4), ("cpu:8", 8)])
def test_cpu_devices(name, count):
    backend = selection.select(name)
    assert len(backend.devices) == count == selection.promised_devices(name)
    assert (backend.platform, backend.compute_dtype) == ("cpu", "float32")


@pytest.mark.parametrize("name", ["gpu", "cpu:", "cpu:0", "cpu:x", "", "CPU"])
def test_a_name_that_is_none(name):
    with pytest.raises(BackendError, match="one of auto, cpu, cpu:N"):
        selection.select(name)


def test_more_devices_than_there_are():
    with pytest.raises(BackendError, match="needs 99 devices and JAX started with 8"):
        selection.select("cpu:99")


@pytest.mark.parametrize("name", ["tpu", "cuda"])
def test_a_platform_that_this_machine_lacks(name):
    assert selection.promised_devices(name) is None
    with pytest.raises(BackendError, match=f"backend '{name}' is not on this machine") as raised:
        selection.select(name)
    assert "\n" not in str(raised.value)


def test_the_peak_is_a_speed():
    device = selection.select("cpu").devices[0]
    assert 1e8 < peak.matmul_peak(device, "float32", size=256) < 1e14


def test_a_machine_that_was_busy_is_measured_again_and_the_best_stays(monkeypatch):
    speeds = iter([5.0, 100.0, 7.0])
    monkeypatch.setattr(peak, "_best", {})
    monkeypatch.setattr(peak, "matmul_peak", lambda device, dtype: next(speeds))
    backend = selection.select("cpu:8")
    assert [peak.machine_peak(backend, "float32") for _ in range(2)] == [5.0, 5.0]  # one measurement
    monkeypatch.setattr(peak, "SECONDS_APART", 0.0)
    assert [peak.machine_peak(backend, "float32") for _ in range(2)] == [100.0, 100.0]
    assert next(speeds, None) is None


def test_what_a_plugin_complains_of_is_in_the_one_line(monkeypatch):
    def devices(platform):
        logging.getLogger("jax._src.xla_bridge").error(
            "no", exc_info=RuntimeError("Unable to load cuDNN\nat")
        )
        raise RuntimeError("Unknown backend cuda")

    monkeypatch.setattr(jax, "devices", devices)
    with pytest.raises(
        BackendError, match=r"not on this machine \(Unable to load cuDNN\); pip install 'pangu"
    ):
        selection.select("cuda")
    monkeypatch.setattr(gpu, "plugin", lambda: ("jax_cuda13_plugin", "0.4.1"))
    with pytest.raises(BackendError, match=r"\(jax_cuda13_plugin 0\.4\.1 does not go with jaxlib "):
        selection.select("cuda")
