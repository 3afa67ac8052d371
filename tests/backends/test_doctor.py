"""The doctor: what it sees of a driver, and that nothing a driver does hangs or breaks it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tpu_npu_backends import shared_libraries
from tpu_npu_backends.descriptions import BACKENDS
from tpu_npu_backends.doctor import driver, examination, inventory, packages, plugin_api, running
from tpu_npu_backends.doctor.findings import Examination, Finding
from tpu_npu_backends.errors import BackendError

# How PJRT_Api of pjrt_c_api.h begins.
PLUGIN = """
#include <stddef.h>
static struct { size_t size; void *extensions; size_t version_size; void *more; int major, minor; } api =
    {1144, NULL, 24, NULL, 0, 99};
void *GetPjrtApi(void) { return EMPTY ? NULL : &api; }
"""


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch):
    """`probe("code")`: that Python code in the probe's place; `tell(dict)` writes an answer."""

    def stand_in(code: str) -> None:
        start = "import json, os, sys, time\nfd = int(sys.argv[sys.argv.index('--to') + 1])\n"
        start += "def tell(**answer): os.write(fd, (json.dumps(answer) + '\\n').encode())\n"
        monkeypatch.setattr(running, "PROBE", (sys.executable, "-c", start + code))

    return stand_in


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`tool("nvidia-smi", "script")` puts a shell script of that name before all others."""

    def make(name: str, script: str) -> None:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")

    return make


def library(path: Path, *flags: str, source: str = PLUGIN) -> Path:
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", *flags, "-o", str(path)]
    subprocess.run(command, input=source, text=True, check=True, capture_output=True)
    return path


def test_the_cpu_of_this_machine_is_usable():
    checks = []
    found = examination.examine("cpu", on_check=checks.append)
    assert (found.usable, found.reason) == (True, "")
    assert [finding.check for finding in found.findings] == ["packages", "machine", *examination.TRIED]
    by_check = {finding.check: finding.found for finding in found.findings}
    assert by_check["devices"].startswith("8 x cpu (virtual)")
    assert "exact; " in by_check["matmul"] and "FLOP/s in float32" in by_check["matmul"]
    assert by_check["collective"].startswith("exact; psum of 4 MiB over 8 devices")
    assert checks == [f"cpu: {check}" for check in examination.TRIED]


def test_a_probe_that_hangs_is_ended_with_all_it_started(probe, tmp_path):
    child = tmp_path / "child"
    probe(
        "import subprocess\n"
        "tell(begins='devices'); tell(check='devices', found='4 x TPU'); tell(begins='matmul')\n"
        f"subprocess.run(['sh', '-c', 'echo $$ > {child}; sleep 600'])"
    )
    began = time.monotonic()
    findings = running.try_checks("tpu", ["devices", "matmul"], silent_seconds=1.5)
    assert time.monotonic() - began < 30
    assert findings[0] == Finding("devices", "4 x TPU")
    assert (findings[1].check, findings[1].status) == ("matmul", "wrong")
    assert findings[1].found == "no answer within 1.5 s, and ended"
    assert findings[1].remedy
    assert not _runs(int(child.read_text()))


def _runs(process: int) -> bool:
    """Within a second it has ended; or is a zombie, where nobody asks for its status."""
    status = Path(f"/proc/{process}/stat")
    for _ in range(20):
        try:
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return False
        except FileNotFoundError:
            return False
        time.sleep(0.05)
    return True


def test_a_probe_that_says_nothing_at_all(probe):
    probe("time.sleep(600)")
    (finding,) = running.try_checks("tpu", ["devices"], silent_seconds=0.2)
    assert (finding.check, finding.status) == ("devices", "wrong")


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (
            "print('F0001 no driver', file=sys.stderr); os.kill(os.getpid(), 6)",
            "signal SIGABRT: F0001 no driver",
        ),
        ("os._exit(3)", "status 3: it said nothing"),
    ],
)
def test_a_probe_that_crashes(probe, end, said):
    probe(f"tell(begins='devices')\n{end}")
    (finding,) = running.try_checks("cuda", ["devices", "matmul"])
    assert (finding.check, finding.status) == ("devices", "wrong")
    assert finding.found == f"the process ended with {said}"


def test_what_libraries_print_is_no_answer_and_a_crash_at_the_end_no_loss(probe):
    probe(
        "print('{}'); tell(begins='devices'); tell(check='devices', found='1 x A100')\n"
        "os.kill(os.getpid(), 11)"
    )
    assert running.try_checks("cuda", ["devices"]) == [Finding("devices", "1 x A100")]


def test_a_check_that_raises_is_a_finding_with_its_way_to_mend_it(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")  # the probe's own choice wins
    (finding,) = running.try_checks("cuda", ["devices", "matmul"])
    assert finding.status == "wrong"
    assert finding.found.startswith("backend 'cuda' is not on this machine")
    assert finding.remedy.startswith("pip install 'pangu-jax[cuda]'")


def test_nothing_is_tried_where_something_is_missing(monkeypatch):
    monkeypatch.setattr(running, "PROBE", ("/bin/false",))
    monkeypatch.setattr(packages, "plugin", lambda backend: None)
    found = examination.examine("cuda")
    assert not found.usable
    assert [finding.status for finding in found.findings[-4:]] == ["untried"] * 4
    assert found.reason.startswith("packages: no jax-cuda13-plugin (jax ")
    assert found.reason.endswith("pip install 'pangu-jax[cuda]'")


def test_a_name_that_is_none():
    with pytest.raises(BackendError, match="no backend 'gpu' to examine: it is one of cpu, tpu, cuda, npu"):
        examination.examine("gpu")


def test_only_what_is_wrong_or_untried_is_in_the_way():
    fine = Finding("driver", "none", "absent"), Finding("devices", "8 x cpu")
    assert Examination("npu", fine).usable
    assert not Examination("npu", (*fine, Finding("matmul", "", "untried"))).usable
    wrong = Examination("npu", (*fine, Finding("matmul", "off by 3", "wrong", "buy another")))
    assert (wrong.usable, wrong.reason) == (False, "matmul: off by 3; buy another")


def test_device_files_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("accel10", "accel2", "accelerate", "vfio/0", "vfio/vfio"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    seen = driver.look(BACKENDS["tpu"], tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in seen.files] == ["accel2", "accel10", "vfio/0"]
    assert driver.refused(seen) is None or os.geteuid() != 0
    assert driver.look(BACKENDS["tpu"], tmp_path / "none").described.startswith("no ")


def test_what_the_drivers_tool_lists(tool, tmp_path):
    tool("nvidia-smi", "echo 'NVIDIA H100, 81559 MiB, 580.1'; echo 'NVIDIA H100, 81559 MiB, 580.1'; echo")
    seen = driver.look(BACKENDS["cuda"], tmp_path)
    assert seen.devices == ("NVIDIA H100, 81559 MiB, 580.1",) * 2
    assert seen.error == ""


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'NVML: Driver/library version mismatch' >&2; exit 18", "ended with 18: NVML: Driver/library"),
        ("sleep 60", "did not answer within 0.2 s"),
    ],
)
def test_a_tool_that_fails(tool, tmp_path, monkeypatch, script, said):
    monkeypatch.setattr(driver, "SECONDS_FOR_A_TOOL", 0.2)
    tool("nvidia-smi", script)
    (tmp_path / "nvidia0").touch()
    seen = driver.look(BACKENDS["cuda"], tmp_path)
    assert said in seen.error and said in seen.described
    assert seen.devices == (str(tmp_path / "nvidia0"),)


def test_the_version_that_a_plugin_was_built_with(tmp_path):
    assert plugin_api.read(library(tmp_path / "plugin.so", "-DEMPTY=0")) == plugin_api.PluginApi(0, 99, 1144)
    with pytest.raises(BackendError, match="gives no PJRT API"):
        plugin_api.read(library(tmp_path / "empty.so", "-DEMPTY=1"))
    with pytest.raises(BackendError, match="is no PJRT plugin: it has no GetPjrtApi"):
        plugin_api.read(library(tmp_path / "other.so", source="int x;"))
    with pytest.raises(BackendError, match="cannot be loaded"):
        plugin_api.read(tmp_path / "missing.so")


def test_libraries_for_this_machine_and_for_others(tmp_path):
    mine = library(tmp_path / "mine.so", source="int x;")
    assert shared_libraries.require_for_this_machine(mine, "build it") == mine
    content = bytearray(mine.read_bytes())
    for number, machine in ((183, "aarch64"), (62, "x86_64"), (4711, "machine 4711")):
        content[18:20] = number.to_bytes(2, "little")
        mine.write_bytes(content)
        assert shared_libraries.machine(mine) == machine
    with pytest.raises(BackendError, match=r"is built for machine 4711 and this machine is .*; build it$"):
        shared_libraries.require_for_this_machine(mine, "build it")
    mine.write_bytes(b"\x7fELF")
    with pytest.raises(BackendError, match="is no ELF file"):
        shared_libraries.require_for_this_machine(mine, "build it")


def test_looking_loads_no_jax_and_starts_no_backend():
    script = (
        "import sys; from tpu_npu_backends.doctor.inventory import inventory; found = inventory(); "
        "assert [one.backend for one in found] == ['cpu', 'tpu', 'cuda', 'npu'], found; "
        "assert found[0].found and 'cores' in found[0].devices[0]; "
        "assert not {'jax', 'jaxlib', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_is_not_installed_comes_with_its_command(monkeypatch):
    monkeypatch.setattr(packages, "plugin", lambda backend: None)
    monkeypatch.setattr(packages, "versions", lambda names: {})
    install = {entry.backend: entry.install for entry in inventory.inventory()}
    assert install == {
        "cpu": "",
        "tpu": "pip install 'pangu-jax[tpu]'",
        "cuda": "pip install 'pangu-jax[cuda]'",
        "npu": "pip install 'pangu-jax[ascend]'",
    }
    monkeypatch.setattr(packages, "versions", lambda names: dict.fromkeys(names, "1"))
    npu = inventory.inventory()[-1]
    assert (npu.found, "make ascend" in npu.install) == (False, True)


def test_a_mode_that_does_not_exist_makes_npu_unusable(monkeypatch):
    monkeypatch.setenv("PANGU_ASCEND_MODE", "prove")
    monkeypatch.setattr(running, "PROBE", ("/bin/false",))
    rows = {finding.check: finding for finding in examination.examine("npu").findings}
    assert rows["mode"].status == "wrong"
    assert "it is one of off, compile, verify" in rows["mode"].found + rows["mode"].remedy


def test_a_variable_that_points_nowhere_makes_npu_unusable(monkeypatch):
    monkeypatch.setenv("ASCEND_HOME_PATH", "/nowhere")
    monkeypatch.setattr(running, "PROBE", ("/bin/false",))
    assert examination.is_here("npu")
    found = examination.examine("npu")
    rows = {finding.check: finding for finding in found.findings}
    assert (rows["CANN"].status, rows["CANN"].found) == ("wrong", "ASCEND_HOME_PATH=/nowhere is no folder")
    assert "source CANN's set_env.sh again" in rows["CANN"].remedy
    assert not found.usable
    assert "ASCEND_HOME_PATH=/nowhere is no folder" in inventory.inventory()[-1].how
