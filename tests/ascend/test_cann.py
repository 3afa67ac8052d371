"""CANN by its documented API, against the library and the hivmc of fake_cann.py. Never run on hardware."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from tests.ascend import fake_cann
from tpu_npu_backends.ascend import cann
from tpu_npu_backends.ascend.cann import acl, binaries
from tpu_npu_backends.doctor import running
from tpu_npu_backends.errors import BackendError

KERNEL = """\
func.func @k(%a: tensor<64xf32>) -> tensor<64xf32>
    attributes {hacc.entry, hacc.function_kind = #hacc.function_kind<DEVICE>} {
  %0 = arith.addf %a, %a : tensor<64xf32>
  return %0 : tensor<64xf32>
}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CANN of which nothing is wrong; tests that break one make their own."""
    return fake_cann.make(tmp_path_factory.mktemp("cann"))


def found(home: Path) -> cann.Installation:
    return cann.find({cann.VARIABLE: str(home)})


def copied_command(source: Path, target: str, output: Path) -> list[str]:
    """Hands the source to the hivmc of PATH, as bishengir-compile does with what it makes of it."""
    return ["hivmc", str(source), f"--target={target}", "-o", str(output)]


def test_devices_with_their_memory(home):
    installation = found(home)
    assert (installation.version, installation.home) == ("8.3.RC2", home)
    with acl.open_(installation.acl_library) as opened:
        assert opened.version() == "1.12.0"
        devices = opened.devices()
    assert devices == [
        acl.Device(0, "Ascend910B1", 60 * 2**30, 64 * 2**30),
        acl.Device(1, "Ascend910B1", 59 * 2**30, 64 * 2**30),
    ]


def test_who_initialised_acl_ends_it(home):
    library = found(home).acl_library
    with acl.open_(library) as outer:
        with acl.open_(library):
            pass
        assert len(outer.devices()) == 2  # the inner one has not ended it
    with pytest.raises(BackendError, match="failed with 100001"):
        outer.devices()


def test_no_variable_means_no_cann():
    assert cann.find({}) is None
    assert cann.find({cann.VARIABLE: ""}) is None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nowhere/cann", "ASCEND_HOME_PATH=/nowhere/cann is no folder; source CANN's set_env.sh"),
        ("cann", "is no absolute path"),
        ("/", "is no CANN toolkit: it has no /"),
    ],
)
def test_a_variable_that_points_nowhere(path, message):
    with pytest.raises(BackendError, match=re.escape(message)) as raised:
        cann.find({cann.VARIABLE: path})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("version", ["8.1.RC1", "7.0.0", "10.0.0"])
def test_a_version_that_is_not_known(tmp_path, version):
    home = fake_cann.make(tmp_path, version=version)
    with pytest.raises(BackendError, match=f"is CANN {re.escape(version)}, and known here is 8.2 up to 9.x"):
        found(home)


def test_an_installation_without_a_version(tmp_path):
    home = fake_cann.make(tmp_path, version="latest")
    with pytest.raises(BackendError, match="names no version"):
        found(home)


def test_a_library_for_another_processor(tmp_path, home):
    other = shutil.copytree(home, tmp_path / "other")
    library = other / "lib64" / "libascendcl.so"
    content = bytearray(library.read_bytes())
    content[18:20] = (243).to_bytes(2, "little")
    library.write_bytes(content)
    with pytest.raises(BackendError, match=r"is built for riscv64 and this machine is \w+; source"):
        found(other)
    library.write_bytes(b"not a library")
    with pytest.raises(BackendError, match="is no ELF file"):
        found(other)
    library.unlink()
    with pytest.raises(BackendError, match="No such file"):
        found(other)


def test_a_library_without_the_functions(tmp_path):
    home = fake_cann.make(tmp_path, flags=("-DNO_MEMORY",))
    with pytest.raises(BackendError, match="has no aclrtGetMemInfo"), acl.open_(found(home).acl_library):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fail": "aclInit"}, "aclInit of .* failed with 507008; is the Ascend driver running"),
        ({"fail": "aclrtGetDeviceCount"}, r"failed with 507008 \(EE1001: the driver is gone\)"),
        ({"fail": "aclrtSetDevice"}, "aclrtSetDevice of .* failed with 507008"),
        ({"major": 2}, "is AscendCL 2.12.0, and 1.x is known here"),
    ],
)
def test_what_acl_says_is_one_line(tmp_path, options, message):
    home = fake_cann.make(tmp_path, **options)
    with (
        pytest.raises(BackendError, match=message) as raised,
        acl.open_(found(home).acl_library) as opened,
    ):
        opened.version()
        opened.devices()
    assert "\n" not in str(raised.value)


def test_the_doctor_lists_devices_and_says_that_it_never_ran_on_hardware(home, monkeypatch):
    monkeypatch.setenv(cann.VARIABLE, str(home))
    findings = running.try_checks("npu", ["cann"])
    assert [finding.check for finding in findings] == ["AscendCL", "AscendCL device 0", "AscendCL device 1"]
    assert all(finding.status == "ok" for finding in findings)
    assert "2 devices (never run on hardware)" in findings[0].found
    assert findings[1].found == "Ascend910B1, 60 of 64 GiB free"


def test_a_driver_that_hangs_does_not_hang_the_doctor(tmp_path, monkeypatch):
    monkeypatch.setenv(cann.VARIABLE, str(fake_cann.make(tmp_path, hang=True)))
    (finding,) = running.try_checks("npu", ["cann"], silent_seconds=1)
    assert (finding.check, finding.status) == ("cann", "wrong")
    assert "no answer within 1 s" in finding.found


def test_a_machine_without_devices(tmp_path, monkeypatch):
    monkeypatch.setenv(cann.VARIABLE, str(fake_cann.make(tmp_path, devices=0)))
    (finding,) = running.try_checks("npu", ["cann"])
    assert (finding.status, finding.remedy != "") == ("wrong", True)


def test_binaries_lie_beside_their_kernels(home, tmp_path):
    sources = [tmp_path / f"{name}.mlir" for name in ("add", "matmul")]
    for source in sources:
        source.write_text(f"kernel {source.stem}")
    told = []
    made = binaries.build(
        sources, "Ascend910B1", found(home), copied_command, lambda *what: told.append(what)
    )
    assert made == [tmp_path / "add.o", tmp_path / "matmul.o"]
    assert made[1].read_bytes() == b"\x7fELFkernel matmul"
    assert told == [("device binaries", 0, 2), ("device binaries", 1, 2)]


@pytest.mark.parametrize(
    ("hivmc", "message"),
    [
        (
            {"does": "echo 'k.mlir:1: error: no such op' >&2; exit 1"},
            "hivmc did not compile add.mlir: k.mlir:1",
        ),
        ({"does": "exit 0"}, "hivmc did not compile add.mlir: it said nothing"),
        ({"magic": "stub"}, "what hivmc wrote for add.mlir is no ELF object"),
        ({"version": "hivmc nightly"}, "says 'hivmc nightly' of its version"),
    ],
)
def test_a_hivmc_that_does_not_do_its_work(home, tmp_path, hivmc, message):
    broken = shutil.copytree(home, tmp_path / "cann")
    fake_cann.write_hivmc(broken, **hivmc)
    source = tmp_path / "add.mlir"
    source.write_text("kernel")
    with pytest.raises(BackendError, match=message) as raised:
        binaries.build([source], "Ascend910B1", found(broken), copied_command)
    assert "\n" not in str(raised.value)
    assert not source.with_suffix(".o").exists()


def test_a_toolkit_without_hivmc(home, tmp_path):
    without = shutil.copytree(home, tmp_path / "cann")
    (without / "bin" / "hivmc").unlink()
    with pytest.raises(BackendError, match="has no hivmc, so no device binary can be written"):
        binaries.hivmc_version(found(without))


@pytest.mark.skipif(importlib.util.find_spec("ascendnpuir") is None, reason="no kernel compiler here")
def test_the_real_kernel_compiler_starts_the_hivmc_of_cann(home, tmp_path):
    from tpu_npu_backends.ascend.compiler import bishengir

    source = tmp_path / "twice.mlir"
    source.write_text(KERNEL)
    (made,) = binaries.build([source], "Ascend910B1", found(home), bishengir.command)
    content = made.read_bytes()  # the fake copies what it was given: HIVM with calls of the library
    assert content[:4] == b"\x7fELF"
    assert b"vadd_1d_float" in content
