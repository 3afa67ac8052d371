"""Platform npu as JAX shows it, who gets it, and one line where it cannot be had."""

import json
import subprocess
import sys

import pytest

from tpu_npu_backends import attached, cpu, selection
from tpu_npu_backends.ascend.plugin import foreign_functions, library
from tpu_npu_backends.ascend.plugin.build import build
from tpu_npu_backends.errors import BackendError

SHOWN = """
import json
import jax, jax.numpy as jnp
from tpu_npu_backends import attached, peak, selection

backend = selection.select("npu")
first = backend.devices[0]
kept = jnp.ones((256, 4))
print(json.dumps({
    "platform": [jax.default_backend(), backend.platform, first.platform, first.client.platform],
    "devices": [backend.describe(), len(jax.devices("cpu"))],
    "names": [first.device_kind, repr(first), str(first), first.default_memory().kind],
    "version": first.client.platform_version,
    "dtype": backend.compute_dtype,
    "memory": first.memory_stats()["bytes_in_use"],
    "limit": first.memory_stats()["bytes_limit"],
    "topology": attached.topology(backend.devices).name,
    "peak": peak.machine_peak(backend, "float32") > 1e8,
}))
"""


def test_what_jax_shows(on_npu):
    done = on_npu("-c", SHOWN, XLA_FLAGS="")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["platform"] == ["npu"] * 4
    assert shown["devices"] == ["8 x Ascend910B1, simulated", 1]
    assert shown["names"] == ["Ascend910B1", "NpuDevice(id=0, simulated)", "NPU_0", "device"]
    assert "SIMULATED on the CPU" in shown["version"]
    assert "cpu" not in repr(shown["names"]).lower()
    assert (shown["memory"], shown["limit"]) == (4096, 64 * 2**30)
    assert (shown["dtype"], shown["topology"], shown["peak"]) == ("float32", "ascend910b:8", True)


def test_a_program_that_did_not_ask_gets_cpu(on_npu):
    program = (
        "import jax; print(jax.default_backend(), [d.platform for d in jax.devices()]); jax.devices('npu')"
    )
    done = on_npu("-c", program, JAX_PLATFORMS="", XLA_FLAGS="")
    assert done.stdout == "cpu ['cpu']\n"
    assert "Unknown backend npu" in done.stderr


def test_auto_does_not_count_our_own_plugin(monkeypatch):
    monkeypatch.setattr(cpu.importlib.util, "find_spec", lambda name: None)
    assert cpu.is_only_choice()


def test_number_of_devices(on_npu):
    program = "import jax; print(len(jax.devices()))"
    assert on_npu("-c", program, PANGU_ASCEND_DEVICES="3").stdout == "3\n"
    wrong = on_npu("-c", program, PANGU_ASCEND_DEVICES="many")
    assert "PANGU_ASCEND_DEVICES=many: give a number of devices" in wrong.stderr


@pytest.mark.parametrize(("name", "count"), [("npu", 8), ("npu:4", 4)])
def test_promised_devices(name, count):
    assert selection.promised_devices(name) == count


@pytest.mark.parametrize("name", ["npu:0", "npu:", "tpu:4", "npu:x"])
def test_a_name_that_is_none(name):
    with pytest.raises(BackendError, match="npu:N"):
        selection.check_name(name)


def test_jax_that_started_without_npu(plugin):
    with pytest.raises(BackendError, match="set JAX_PLATFORMS=npu,cpu") as raised:
        selection.select("npu")
    assert "\n" not in str(raised.value)


def test_a_mode_that_is_none(plugin, monkeypatch):
    monkeypatch.setenv("PANGU_ASCEND_MODE", "fast")
    with pytest.raises(BackendError, match="one of off, compile, verify"):
        selection.select("npu")


def test_a_plugin_that_is_not_built(on_npu, tmp_path):
    """By name, and in a JAX program that knows nothing of us."""
    program = "import jax; jax.devices()"
    done = on_npu("-c", program, XDG_CACHE_HOME=str(tmp_path))
    assert "the plugin for npu is not built: make ascend, or python -m" in done.stderr.splitlines()[-1]


def test_a_missing_inner_plugin(monkeypatch):
    monkeypatch.setattr(library, "_INNER", ("no_such_package", "x.so"))
    monkeypatch.delenv("PANGU_ASCEND_INNER", raising=False)
    with pytest.raises(BackendError, match=r"is not installed: pip install 'pangu-jax\[ascend\]'"):
        library.inner_path()


# A plugin that is none: only a table of functions that are not there.
FAKE_INNER = """
#include "xla/pjrt/c/pjrt_c_api.h"
extern "C" const PJRT_Api* GetPjrtApi() {
  static PJRT_Api api{};
  api.struct_size = SIZE;
  api.pjrt_api_version.major_version = MAJOR;
  api.pjrt_api_version.minor_version = MINOR;
  return &api;
}
"""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("PJRT_Api_STRUCT_SIZE", "PJRT_API_MAJOR", "3"), "speaks PJRT API 0.3, and this wrapper knows 0."),
        (("PJRT_Api_STRUCT_SIZE", "7", "PJRT_API_MINOR"), "speaks PJRT API 7."),
        (("PJRT_Api_STRUCT_SIZE", "PJRT_API_MAJOR", "9999"), "speaks PJRT API 0.9999"),
        (("64", "PJRT_API_MAJOR", "PJRT_API_MINOR"), "table of functions has 64 bytes"),
    ],
)
def test_an_inner_plugin_of_another_version(on_npu, tmp_path, values, said):
    source, fake = tmp_path / "fake.cc", tmp_path / "fake.so"
    source.write_text(FAKE_INNER)
    defined = [f"-D{name}={value}" for name, value in zip(("SIZE", "MAJOR", "MINOR"), values, strict=True)]
    header = f"-I{library.header_folder()}"
    subprocess.run(["g++", "-shared", "-fPIC", header, *defined, source, "-o", fake], check=True)
    program = "from tpu_npu_backends.ascend.plugin import library; library.load()"
    done = on_npu("-c", program, PANGU_ASCEND_INNER=str(fake))
    last = done.stderr.splitlines()[-1]
    assert said in last and "pip install" in last


def test_an_inner_plugin_that_is_no_library(tmp_path, monkeypatch):
    wrong = tmp_path / "inner.so"
    wrong.write_text("no library")
    monkeypatch.setenv("PANGU_ASCEND_INNER", str(wrong))
    with pytest.raises(BackendError, match="is no ELF file"):
        library.inner_path()


def test_a_changed_source_is_another_library(tmp_path, monkeypatch):
    before = library.path()
    source = tmp_path / "plugin.cc"
    source.write_text("syntax error")
    monkeypatch.setattr(library, "SOURCES", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    library.made_from.cache_clear()
    try:
        assert library.path().parent.name != before.parent.name
        assert library.built() is None
        with pytest.raises(BackendError, match="could not build the plugin for npu"):
            build()
        with pytest.raises(BackendError, match="compiler 'no-such-compiler' to build"):
            build("no-such-compiler")
    finally:
        library.made_from.cache_clear()


def test_building_again_does_nothing(plugin):
    done = subprocess.run(
        [sys.executable, "-m", "tpu_npu_backends.ascend.plugin.build"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{plugin}\n"


@pytest.mark.parametrize(
    ("version", "newer"), [("0.10.2", False), ("0.11.2", False), ("0.11.3", True), ("0.12.0.1", True)]
)
def test_which_jaxlib_is_newer_than_the_inner_plugin(monkeypatch, version, newer):
    monkeypatch.setattr(library, "inner_version", lambda: "0.11.2")
    assert foreign_functions.is_too_new(version) == newer


def test_foreign_functions_that_cannot_be_called(monkeypatch):
    with pytest.raises(BackendError, match="'mine': npu takes those with api_version=1 and one stage"):
        foreign_functions.register_function(None, "mine", object(), 0)
    with pytest.raises(BackendError, match="and one stage"):
        foreign_functions.register_function(None, "mine", {"prepare": None, "execute": None}, 1)
    monkeypatch.setattr(library, "inner_version", lambda: "0.0.1")
    with pytest.raises(BackendError, match=r"those of jaxlib 0\.0\.1 and older, and this is"):
        foreign_functions.register_function(None, "mine", object(), 1)


def test_topology_of_cpu_is_as_before():
    assert attached.topology(selection.select("cpu:8").devices).name == "cpu:8"
