"""`pangu backend`: what its verbs print and write, their exit codes, and one line for every mistake."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from pangu_jax import cli
from pangu_jax.training import compiling
from tests.ascend import fake_cann
from tpu_npu_backends import topologies
from tpu_npu_backends.ascend import compiler
from tpu_npu_backends.ascend.compiler import bishengir
from tpu_npu_backends.doctor import examination, packages
from tpu_npu_backends.doctor.findings import Examination, Finding
from tpu_npu_backends.errors import BackendError

RECIPE = ("--gin_file", "nlp/quickstart.gin")
HAS_COMPILER = importlib.util.find_spec("ascendnpuir") is not None
needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="no kernel compiler here")


@pytest.fixture(scope="module", autouse=True)
def eight_devices() -> None:
    """JAX starts with them before a verb asks for fewer: that would be for the whole process."""
    assert len(jax.devices()) == 8


@pytest.fixture
def backend(capsys: pytest.CaptureFixture):
    """`backend("list")` gives (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = cli.main(["backend", *map(str, arguments)])
        except SystemExit as exit_:
            status = exit_.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def small_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A product and its sum in the place of the trainer's step; how it was asked for is recorded."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calls = []

    def lower_step(workload, optimizer, layout, batch_size, devices, platform):
        calls.append((workload.name, layout, batch_size, len(devices), platform))
        return jax.jit(lambda x: jnp.sum(x @ x)).lower(jnp.ones((32, 32)))

    monkeypatch.setattr(compiling, "lower_step", lower_step)
    return calls


def test_list_for_people_and_for_programs(backend, monkeypatch):
    monkeypatch.setattr(packages, "plugin", lambda backend: None)
    status, out, err = backend("list")
    assert (status, err) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines()[1:5]}
    assert " found" in rows["cpu"] and "cores" in rows["cpu"]
    assert "not found" in rows["tpu"] and "pip install 'pangu-jax[tpu]'" in rows["tpu"]
    status, out, _ = backend("list", "--json", "-")
    found = json.loads(out)["backends"]
    assert status == 0
    assert [entry["backend"] for entry in found] == ["cpu", "tpu", "cuda", "npu"]
    assert found[0]["found"] and found[0]["versions"]["jax"] == jax.__version__
    assert found[1].keys() == {"backend", "found", "how", "devices", "versions", "install"}


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch):
    """`examined(tpu="no driver")`: the doctor finds that wrong with tpu, and nothing else with others."""

    def make(here: tuple[str, ...] = ("cpu",), **wrong: str) -> None:
        def examine(name, *, silent_seconds, on_check):
            assert silent_seconds > 0
            on_check(f"{name}: driver")
            what = wrong.get(name)
            finding = Finding("driver", what, "wrong", "plug it in") if what else Finding("driver", "fine")
            return Examination(name, (finding,))

        monkeypatch.setattr(examination, "examine", examine)
        monkeypatch.setattr(examination, "is_here", lambda name: name in here)

    return make


def test_doctor_ends_with_2_where_the_named_backend_is_not_usable(backend, examined):
    examined(tpu="no driver")
    status, out, _ = backend("doctor", "tpu")
    assert status == 2
    assert out.splitlines()[-1] == "tpu: not usable: driver: no driver; plug it in"
    status, out, _ = backend("doctor", "cpu")
    assert (status, out.splitlines()[-1]) == (0, "cpu: usable")
    status, out, _ = backend("doctor", "tpu", "--json", "-")
    found = json.loads(out)
    assert (status, found["usable"]) == (2, False)
    assert found["backends"][0]["reason"] == "driver: no driver; plug it in"
    remedied = {"check": "driver", "found": "no driver", "status": "wrong", "mend": "plug it in"}
    assert found["backends"][0]["checks"][0] == remedied


def test_doctor_of_all_is_content_where_what_is_here_works(backend, examined):
    examined(here=("cpu",), tpu="no driver", cuda="no driver")
    assert backend("doctor")[0] == 0
    examined(here=("cpu", "cuda"), tpu="no driver", cuda="old driver")
    status, out, _ = backend("doctor")
    assert status == 2
    assert [line.partition(": ")[0] for line in out.splitlines()[-4:]] == ["cpu", "tpu", "cuda", "npu"]


def test_a_step_for_a_topology(backend, small_step, tmp_path):
    out = tmp_path / "made" / "step"
    arguments = (*RECIPE, "--gin.train.batch_size=8", "--target", "cpu:4", "--out", out, "--json", "-")
    status, said, _ = backend("compile", *arguments)
    found = json.loads(said)
    assert status == 0
    assert (found["chips"], found["batch_size"], found["cached"]) == (4, 8, False)
    assert found["memory_bytes_per_device"]["total"] >= 32 * 32 * 4
    assert found["fits"] and sum(found["kernels"].values()) >= 1
    assert (found["seconds"], found["mfu"], found["collectives"]) == (None, None, None)
    assert found["cannot_say"] == []  # no card is missing: a CPU's program is the one that runs
    assert found["ran_on"] == "never run on hardware"
    assert "HloModule" in (out / "step.hlo.txt").read_text()
    assert json.loads((out / "report.json").read_text()) == found
    (asked,) = small_step
    assert (asked[0], asked[1].data, asked[2:]) == ("language", 4, (8, 4, "cpu"))
    (out / "old").touch()
    status, said, _ = backend("compile", *arguments[:-2])  # the same place again
    assert status == 0 and "kept from an earlier call" in said
    assert sorted(path.name for path in out.iterdir()) == ["report.json", "step.hlo.txt"]
    assert [path.name for path in out.parent.iterdir()] == ["step"]


@needs_compiler
def test_a_step_for_ascend(backend, small_step, tmp_path):
    out, report = tmp_path / "step", tmp_path / "report.json"
    status, said, err = backend("compile", *RECIPE, "--target", "Ascend910B1", "--out", out, "--json", report)
    assert (status, err) == (0, "")
    found = json.loads(report.read_text())
    assert found["kernels"] >= 1
    assert 0.95 <= found["flops_covered"] <= 1
    assert found["host_ops"] == []
    assert (found["cann"], found["binaries"]) == (None, 0)
    assert "never run on hardware" in said and "ASCEND_HOME_PATH is not set" in said
    assert len(list((out / "kernels").glob("*.hivm.mlir"))) == found["kernels"]
    assert (out / "plan.json").is_file()
    (asked,) = small_step
    assert asked[3:] == (1, "npu")
    x = jnp.arange(32.0 * 32).reshape(32, 32) / 1024
    (got,) = compiler.AscendProgram.read(out).run([x])
    assert got == pytest.approx(float(jnp.sum(x @ x)), rel=1e-6)


@needs_compiler
def test_with_cann_device_binaries_lie_beside_the_kernels(backend, small_step, tmp_path, monkeypatch):
    monkeypatch.setenv("ASCEND_HOME_PATH", str(fake_cann.make(tmp_path / "cann")))
    out = tmp_path / "step"
    status, said, _ = backend("compile", *RECIPE, "--target", "Ascend910B2", "--out", out)
    assert status == 0
    made = list((out / "kernels").glob("*.o"))
    assert made and all(path.read_bytes()[:4] == b"\x7fELF" for path in made)
    assert f"{len(made)} by CANN 8.3.RC2 (never run on hardware)" in said
    fake_cann.write_hivmc(tmp_path / "cann", does="echo 'error: out of registers' >&2; exit 1")
    before = sorted(out.rglob("*"))
    status, said, err = backend("compile", *RECIPE, "--target", "Ascend910B2", "--out", out)
    assert (status, said, err.count("\n")) == (2, "", 1)
    assert "out of registers" in err
    assert sorted(out.rglob("*")) == before  # the earlier result stands


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lst"], "pangu: no verb 'backend lst'; did you mean 'backend list'?"),
        (["doctor", "gpu"], "no backend 'gpu'; did you mean 'cuda'?; it is one of cpu, tpu, cuda, npu"),
        (["doctor", "cpu", "--timeout", "0"], "--timeout 0: it is a number of seconds, above 0"),
        (["compile", *RECIPE], "the following arguments are required: --target"),
        (["compile", "--target", "Ascend910B1"], "name a recipe; there are: "),
        (
            ["compile", *RECIPE, "--target", "ascend910b1"],
            "no target 'ascend910b1'; did you mean 'Ascend910B1'?",
        ),
        (["compile", *RECIPE, "--target", "H100"], "it is a chip (Ascend910B1, "),
        (["compile", *RECIPE, "--target", "v5e:3x3"], "no topology 'v5e:3x3'"),
        (["compile", *RECIPE, "--target", "h100:12"], "nearest: h100:2x8, h100:3x4"),
        (["compile", *RECIPE, "--target", "h100"], "nearest: h100:1x8"),
        (["compile", *RECIPE, "--target", "h100-sxm"], "no target 'h100-sxm'; did you mean 'h100'?"),
        (["compile", *RECIPE, "--target", "h1000:1x8"], "no topology 'h1000:1x8'; did you mean 'h100'?"),
        (["compile", *RECIPE, "--target", "ascend910b:8"], "kernels are compiled for one chip; it is one of"),
        (["compile", *RECIPE, "--target", "cpu:8"], "batch_size 4 is not divisible by data 8"),
        (["compile", *RECIPE, "--target", "cpu:1", "--gin.train.steps=x"], "train.steps"),
        (
            ["compile", "--gin_file", "tuning/pattern.gin", "--target", "cpu:1"],
            "is a recipe of pangu_jax.apps.language.tuning",
        ),
        (["compile", *RECIPE, "--target", "cpu:1", "--out", "/proc/x"], "--out /proc/x: "),
        (["compile", *RECIPE, "--target", "cpu:1", "--out", "/proc"], "holds something else than an earlier"),
        (["compile", *RECIPE, "--target", "cpu:1", "--out", "/etc/passwd"], "is a file; name a folder"),
        (["compile", *RECIPE, "--target", "cpu:1", "--json", "/none/x"], "--json /none/x: "),
    ],
)
def test_mistakes_are_one_line_and_exit_2(backend, arguments, message):
    status, out, err = backend(*arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_without_the_kernel_compiler_the_extra_is_named(backend, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "ascendnpuir" else real(name, *more)
    )
    status, out, err = backend("compile", *RECIPE, "--target", "Ascend910B1")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "pip install 'pangu-jax[ascend]'" in err


@needs_compiler
def test_a_kernel_compiler_for_another_processor(backend, monkeypatch, tmp_path):
    program = tmp_path / "bin" / "bishengir-compile"
    program.parent.mkdir()
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(11) + (243).to_bytes(2, "little"))
    wheel = types.SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: wheel if name == "ascendnpuir" else real(name, *more)
    )
    status, _, err = backend("compile", *RECIPE, "--target", "Ascend910B1")
    assert (status, err.count("\n")) == (2, 1)
    assert "is built for riscv64 and this machine is" in err


@needs_compiler
@pytest.mark.parametrize("home", ["/nowhere", "relative"])
def test_a_cann_that_is_not_there(backend, small_step, monkeypatch, home):
    monkeypatch.setenv("ASCEND_HOME_PATH", home)
    status, out, err = backend("compile", *RECIPE, "--target", "Ascend910B1")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"ASCEND_HOME_PATH={home} is no" in err and "set_env.sh" in err
    assert not small_step  # nothing was lowered for it


def test_without_libtpu_the_extra_is_named(backend, monkeypatch):
    monkeypatch.setattr(topologies, "_libtpu_is_there", lambda: False)
    status, out, err = backend("compile", *RECIPE, "--target", "v5e:2x2")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "pip install 'pangu-jax[tpu]'" in err


@needs_compiler
def test_a_layout_for_many_devices_comes_with_the_bindings_for_one(backend, small_step):
    arguments = ("--gin.Layout.fsdp=4", "--gin.Layout.model=2", "--target", "Ascend910B1")
    status, _, err = backend("compile", *RECIPE, *arguments)
    assert (status, err.count("\n")) == (2, 1)
    assert "the layout is fsdp 4 x model 2: give --gin.Layout.fsdp=1 --gin.Layout.model=1" in err


@needs_compiler
def test_an_op_that_nothing_can_do_is_named(backend, small_step, monkeypatch):
    def refuse(*_, **__):
        raise BackendError("stablehlo.sort has no kernel and no host form, at model.py:7")

    monkeypatch.setattr(compiler, "compile_program", refuse)
    status, _, err = backend("compile", *RECIPE, "--target", bishengir.TARGETS[0])
    assert status == 2
    assert err == "pangu backend compile: stablehlo.sort has no kernel and no host form, at model.py:7\n"
    assert "pangu_jax.planning.ascend_target" in sys.modules


@needs_compiler
@pytest.mark.prove
def test_the_quickstart_step_compiles_for_ascend(backend, tmp_path, proof):
    report = tmp_path / "report.json"
    sizes = ("--gin.EncoderDecoder.d_model=64", "--gin.EncoderDecoder.d_ff=128", "--gin.train.batch_size=2")
    status, _, err = backend("compile", *RECIPE, *sizes, "--target", "Ascend910B1", "--json", report)
    found = json.loads(report.read_text())
    assert (status, err) == (0, "")
    assert found["products_compiled"] == found["products"] > 50
    assert found["flops_covered"] >= 0.95
    proof("FLOPs covered by kernels", found["flops_covered"])
    proof("kernels", found["kernels"])
    proof("ops left to the host", sum(op["count"] for op in found["host_ops"]))
