"""`pangu plan --for generate`: what is predicted of a step of decoding, beside what is compiled."""

import importlib.util
import json
import re

import pytest

from pangu_jax import cli
from pangu_jax.apps.language.decoding.lowered_step import PlannedDecoder
from pangu_jax.models.experts import ExpertsConfig
from pangu_jax.models.latent_attention import LatentWidths
from pangu_jax.parallel.layout import Layout
from pangu_jax.planner import inference
from pangu_jax.planner.inference import WritingModel
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from tpu_npu_backends import topologies
from tpu_npu_backends.compiling import compile_for

SIZES = {"vocab_size": 64, "d_model": 32, "heads": 4}
LATENT = LatentWidths(query_rank=16, rank=8, plain=8, rotary=4, value=8)
GROUPED = DecoderConfig(**SIZES, d_ff=64, kv_heads=2, layers=2, biases=True, tied_head=False)
ROUTED = DecoderConfig(
    **SIZES, kv_heads=4, layers=2, experts=ExpertsConfig(experts=8, d_ff=16, active=4, shared_d_ff=32)
)
LATENTS = DecoderConfig(**SIZES, d_ff=64, layers=2, latent=LATENT)
TWO_TOWERS = EncoderDecoderConfig(**SIZES, d_ff=64, encoder_layers=2, decoder_layers=2)


@pytest.fixture
def plan(capsys: pytest.CaptureFixture):
    """`plan("--topology", "cpu:8")` gives (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = cli.main(["plan", "--for", "generate", *map(str, arguments)])
        except SystemExit as exit_:
            status = exit_.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def of(config, texts: int = 4, tokens: int = 64) -> WritingModel:
    written = PlannedDecoder(config, texts, tokens)
    return WritingModel("tiny", written.shape(), written.dimensions())


@pytest.mark.parametrize(
    ("config", "layout"),
    [
        (GROUPED, Layout(data=2, model=2)),
        (ROUTED, Layout(data=1, expert=4)),
        (LATENTS, Layout(data=1, fsdp=2, model=2)),
        (TWO_TOWERS, Layout(data=1, model=4)),
    ],
    ids=["grouped", "experts", "latents", "encoder-decoder"],
)
def test_weights_and_cache_are_those_that_a_compiled_step_is_given(config, layout):
    topology = topologies.parse("cpu:4")
    lowered = PlannedDecoder(config, 4, 64).lower(layout, topology, topologies.devices(topology))
    given = compile_for(topology, lowered).memory_analysis().argument_size_in_bytes
    found = inference.predict(of(config), topology, layout)
    assert found.memory["weights"] + found.memory["cache"] == pytest.approx(given, rel=0.02)
    assert found.layout == layout


def test_a_cache_grows_with_texts_and_tokens_and_not_with_latents_heads():
    one = topologies.parse("h100:1x1")
    sizes = [inference.predict(of(GROUPED, *pair), one, Layout()).memory for pair in ((4, 64), (8, 128))]
    assert sizes[1]["cache"] == 4 * sizes[0]["cache"] and sizes[1]["weights"] == sizes[0]["weights"]
    two = topologies.parse("h100:1x2")
    split = inference.predict(of(LATENTS), two, Layout(model=2)).memory
    assert split["cache"] == inference.predict(of(LATENTS), one, Layout()).memory["cache"]


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install 'pangu-jax[tpu]'"
)
def test_a_step_copies_no_experts():
    experts = ExpertsConfig(experts=16, d_ff=80, active=4)  # 128 does not divide 80: a TPU lays it elsewhere
    config = DecoderConfig(vocab_size=256, d_model=256, heads=2, kv_heads=2, layers=1, experts=experts)
    topology = topologies.parse("v5p:1x1x1")
    lowered = PlannedDecoder(config, 8, 128).lower(Layout(), topology, topologies.devices(topology))
    text = compile_for(topology, lowered).as_text()
    assert len(re.findall(r"= bf16\[16,80,256\]\S* parameter\(", text)) == 3
    assert not re.findall(r"= bf16\[16,\d+,\d+\]\S* (?:copy|transpose|fusion)\(.*", text)


# Compiled by `python -m benchmarks.decoding_compiled`, GiB a chip: docs/openpangu.md.
@pytest.mark.parametrize(
    ("recipe", "topology", "axes", "compiled"),
    [
        ("openpangu/7b.gin", "h100:1x1", "data 1", 19.3),
        ("openpangu/pro_moe_72b.gin", "v5p:2x2x1", "model 4", 35.1),
    ],
)
def test_published_sizes(plan, recipe, topology, axes, compiled):
    axis, size = axes.split()
    asked = ("--gin_file", recipe, "--topology", topology, "--fix", f"{axis}={size}", "--json", "-")
    status, out, _ = plan(*asked)
    found = json.loads(out)
    best = found["layouts"][0]
    assert status == 0 and best["layout"][axis] == int(size)
    assert best["predicted_bytes_per_device"] / 2**30 == pytest.approx(compiled, rel=0.1)
    assert best["predicted_bytes_at_start"] > best["predicted_bytes_per_device"]
    assert f"Layout.{axis}={size}" in found["bindings"]


def test_the_best_are_compiled(plan, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tiny = ["vocab_size=64", "d_model=32", "d_ff=64", "heads=4", "kv_heads=2", "layers=2"]
    bindings = [f"--gin.Decoder.{each}" for each in tiny]
    status, out, _ = plan(
        *(
            "--gin_file",
            "openpangu/7b.gin",
            "--topology",
            "cpu:2",
            "--verify",
            1,
            "--length",
            32,
            "--json",
            "-",
        ),
        *bindings,
    )
    found = json.loads(out)
    assert status == 0 and found["verified"][0]["memory_bytes_per_device"]["total"] > 0
    assert (found["batch"], found["length"], found["verified"][0]["error"]) == (8, 32, None)


@pytest.mark.parametrize(
    ("recipe", "arguments", "message"),
    [
        ("openpangu/7b.gin", ["v5p:4x4x4", "--fix", "model=16"], "divisible by model 16; 8 would do"),
        ("openpangu/7b.gin", ["v5p:2x2x1", "--fix", "stage=2"], "no other axes than data, fsdp, expert"),
        ("openpangu/7b.gin", ["v5p:4x4x4", "--batch", 3], "no layout divides openpangu/7b.gin"),
        ("openpangu/7b.gin", ["v5p:2x2x1", "--batch", 0], "--batch 0 --length 4096: at least 1 text"),
        ("openpangu/pro_moe_72b.gin", ["h100:1x1"], "the nearest that fits is h100:1x8 (8 chips)"),
        ("vision/quickstart.gin", ["h100:1x1"], "has no decoder"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_exit_2(plan, recipe, arguments, message):
    status, out, err = plan("--gin_file", recipe, "--topology", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_texts_are_of_plans_to_generate(plan, capsys):
    status = cli.main(["plan", "--gin_file", "bench/small.gin", "--topology", "cpu:8", "--batch", "2"])
    assert status == 2 and "give --for generate" in capsys.readouterr().err
