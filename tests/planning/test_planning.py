"""`pangu plan`: what it prints, what it writes, and what a compiled program is compared with."""

import json
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import pytest

from pangu_jax import cli, train
from pangu_jax.planning import layouts
from pangu_jax.training import optimizers
from tpu_npu_backends import attached, selection, topologies
from tpu_npu_backends.errors import BackendError

RECIPE = ["--gin_file", "bench/small.gin"]
LAYOUT_KEYS = {"layout", "model_flops_per_step", "predicted_bytes_per_device", "predicted_step_s"}
COMPILED_KEYS = {"memory_bytes_per_device", "collectives", "kernels", "seconds", "mfu", "hlo_file", "error"}


@pytest.fixture
def plan(capsys: pytest.CaptureFixture):
    """`plan("--topology", "cpu:8")` gives (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = cli.main(["plan", *map(str, arguments)])
        except SystemExit as exit_:
            status = exit_.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """A step that is one product, in the place of the trainer's; calls are recorded."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calls = []

    def lower_step(workload, optimizer, layout, batch_size, devices, platform):
        calls.append((layout, len(devices), platform))
        assert isinstance(optimizer, optimizers.Optimizer) and workload.name == "language"
        return jax.jit(lambda x: x @ x * layout.fsdp).lower(jnp.ones((8, 8)))

    monkeypatch.setitem(
        sys.modules, "pangu_jax.training.compiling", types.SimpleNamespace(lower_step=lower_step)
    )
    return calls


def test_json_holds_the_ranking_and_what_was_compiled(plan, compiler, tmp_path):
    path, folder = tmp_path / "plan.json", tmp_path / "hlo"
    arguments = (*RECIPE, "--topology", "cpu:8", "--top", 4, "--verify", 2, "--dump_hlo", folder)
    status, out, _ = plan(*arguments, "--json", path)
    assert status == 0
    found = json.loads(path.read_text())
    assert len(found["layouts"]) == 4 and len(found["verified"]) == 2
    for item in found["layouts"] + found["verified"]:
        assert item.keys() >= LAYOUT_KEYS
        assert item["layout"]["data"] * item["layout"]["fsdp"] * item["layout"]["model"] <= 8
    for item in found["verified"]:
        assert item.keys() >= COMPILED_KEYS
        assert item["memory_bytes_per_device"]["total"] > 0
        assert item["seconds"] is None and item["kernels"]
        assert "HloModule" in (tmp_path / item["hlo_file"]).read_text()
    assert "not estimated" in out
    assert out.rstrip().splitlines()[-len(found["bindings"]) :] == found["bindings"]


def test_what_attends_stays_as_the_recipe_has_it(plan):
    asked = (*RECIPE, "--topology", "h100:1x8", "--gin.Layout.attention='plain'", "--json", "-")
    found = json.loads(plan(*asked)[1])
    assert "Layout.attention = 'plain'" in found["bindings"]
    fused = json.loads(plan(*asked[:4], "--json", "-")[1])["layouts"][0]
    assert found["layouts"][0]["predicted_bytes_per_device"] > fused["predicted_bytes_per_device"]


def test_a_program_is_compiled_once(plan, compiler):
    arguments = (*RECIPE, "--topology", "cpu:8", "--verify", 1, "--json", "-")
    first, again = (json.loads(plan(*arguments)[1])["verified"][0] for _ in range(2))
    assert (first["cached"], again["cached"]) == (False, True)
    assert again["memory_bytes_per_device"] == first["memory_bytes_per_device"]
    assert len(compiler) == 2  # traced anew: the program itself is the key
    layout, devices, platform = compiler[0]
    assert (devices, platform) == (8, "cpu") and layout.on(8) == layout


def test_a_layout_that_does_not_compile_is_told_and_the_others_go_on(plan, compiler, monkeypatch):
    def refuse(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nat length")

    monkeypatch.setattr(sys.modules["pangu_jax.training.compiling"], "lower_step", refuse)
    status, out, err = plan(*RECIPE, "--topology", "cpu:8", "--verify", 2)
    assert status == 0
    assert out.count("RESOURCE_EXHAUSTED") == 2 and "at length" not in out
    assert "failed 2 of 2" in err


def test_the_table_has_the_recipes_own_layout_where_it_goes_with_the_chips(plan):
    _, out, _ = plan("--gin_file", "nlp/110b.gin", "--topology", "v5p:8x8x8", "--top", 3)
    rows = [line.split() for line in out.splitlines()]
    own = ["recipe", "fsdp", "64", "x", "model", "8,", "2", "streams", "dots"]
    assert own in [row[:9] for row in rows]
    _, out, _ = plan("--gin_file", "nlp/110b.gin", "--topology", "v5p:4x4x8", "--top", 1)
    assert "recipe " not in out.replace("into the recipe", "")


def test_clusters_without_a_compiler_say_so(plan):
    status, out, _ = plan("--gin_file", "nlp/2b6.gin", "--topology", "ascend910b:64", "--json", "-")
    assert status == 0
    assert json.loads(out)["analytic_only"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --topology"),
        (["--topology", "v5p:8x8"], "no topology 'v5p:8x8'"),
        (["--topology", "v9:8x8x8"], "no topology 'v9:8x8x8'"),
        (["--topology", "ascend910b:64", "--verify", 1], "ascend910b:64 is analytic only"),
        (["--topology", "h100:64"], "nodes x GPUs of each, at most 8 h100 a node; nearest: h100:8x8"),
        (["--topology", "h1000:1x8"], "no topology 'h1000:1x8'; did you mean 'h100'?"),
        (["--topology", "h100:1x8", "--memory_fraction", 2], "--memory_fraction 2.0: it is a fraction"),
        (["--topology", "cpu:8", "--memory_fraction", 0.5], "--memory_fraction is for GPUs"),
        (["--topology", "t4:1x8"], "t4 has compute capability 7.5 and no bfloat16, which needs 8.0: give"),
        (
            ["--topology", "rtx4090:1x1", "--gin.EncoderDecoder.d_model=8192"],
            "JAX's part 0.75, 15.4 are to be used; the nearest that fits is rtx4090:",
        ),
        (["--topology", "cpu:8", "--top", 0], "--top 0"),
        (["--topology", "cpu:8", "--dump_hlo", "x"], "--dump_hlo writes what is compiled: give --verify K"),
        (["--topology", "cpu:8", "--fix", "stage"], "--fix stage: write --fix NAME=VALUE"),
        (["--topology", "cpu:8", "--fix", "stages=2"], "the search chooses no 'stages'"),
        (
            ["--topology", "cpu:8", "--gin.backend=auto", "--gin.Layout.model=3"],
            "heads 8 is not divisible by model 3",
        ),
        (["--topology", "cpu:7"], "no layout divides language"),
        (["--topology", "cpu:8", "--gin.EncoderDecoder.d_model=8192"], "the nearest that fits is cpu:"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(plan, arguments, message):
    status, out, err = plan(*RECIPE, *arguments)
    assert (status, out) == (2, "")
    lines = err.splitlines()
    assert message in lines[0]
    assert len(lines) == (3 if "model=3" in str(arguments) else 1)  # one for each size that does not divide


def test_a_recipe_of_another_verb(plan):
    status, out, err = plan("--gin_file", "tuning/pattern.gin", "--topology", "cpu:8")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "is a recipe of pangu_jax.apps.language.tuning" in err


def test_without_libtpu_the_extra_is_named_and_predictions_still_work(plan, monkeypatch):
    monkeypatch.setattr(topologies, "_libtpu_is_there", lambda: False)
    status, out, err = plan(*RECIPE, "--topology", "v5p:2x2x1", "--verify", 1)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "pip install 'pangu-jax[tpu]'" in err
    assert plan(*RECIPE, "--topology", "v5p:2x2x1")[0] == 0


def test_planning_touches_no_device():
    script = (
        "from pangu_jax import cli; "
        "assert cli.main(['plan', '--gin_file', 'bench/small.gin', '--topology', 'v5p:2x2x1']) == 0; "
        "from jax._src import xla_bridge; assert not xla_bridge._backends"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_fixed_values_are_numbers_where_they_look_so():
    assert layouts.parse_fixed(["stage=4", "Layout.remat=full"]) == {"stage": 4, "remat": "full"}


def test_the_devices_of_a_run_have_a_topology():
    devices = selection.select("cpu:4").devices
    assert attached.topology(devices) == topologies.parse("cpu:4")
    made_up = types.SimpleNamespace(platform="tpu", device_kind="TPU v5p")
    corners = [types.SimpleNamespace(**vars(made_up), coords=xyz) for xyz in ((0, 0, 0), (3, 3, 7))]
    assert attached.topology(corners) == topologies.parse("v5p:4x4x8")
    with pytest.raises(BackendError, match="no layout can be planned for 'Radeon'"):
        attached.topology([types.SimpleNamespace(platform="rocm", device_kind="Radeon")])


@pytest.mark.prove
def test_training_with_the_planners_layout(tmp_path):
    shape = {"vocab_size": 128, "d_model": 32, "d_ff": 64, "heads": 4}
    shape |= {"encoder_layers": 2, "decoder_layers": 2}
    bindings = [f"EncoderDecoder.{name}={value}" for name, value in shape.items()]
    bindings += ["synthetic_tokens.vocabulary_size=128", "synthetic_tokens.encoder_length=16"]
    bindings += ["synthetic_tokens.decoder_length=16", "train.steps=1", "backend=cpu:4", "layout=auto"]
    found = train.run(["bench/small.gin"], bindings, tmp_path)
    assert found["step"] == 1
    assert "train.layout = 'auto'" in (tmp_path / "recipe.gin").read_text()
    layout = json.loads((tmp_path / "environment.json").read_text())["layout"]
    assert layout != "one device"
