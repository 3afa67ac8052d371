"""`pangu train` on simulated Ascend devices: losses of cpu, checkpoints both read, kernels that agree."""

import json
import math

import pytest

from pangu_jax.runs import metrics

pytestmark = pytest.mark.prove

RECIPE = """
import data_pipelines.text.synthetic
import pangu_jax.workloads.language

train.workload = @LanguageModel()
train.optimizer = @adamw()
train.steps = 10
train.batch_size = 8
train.log_every = 1
train.checkpoint_every = 5
train.layout = @Layout()

Layout.data = 2
Layout.model = 2
Layout.fsdp = 2

LanguageModel.model = @EncoderDecoder()
LanguageModel.data = @synthetic_tokens()
EncoderDecoder.vocab_size = 64
EncoderDecoder.d_model = 32
EncoderDecoder.d_ff = 64
EncoderDecoder.heads = 4
EncoderDecoder.encoder_layers = 2
EncoderDecoder.decoder_layers = 2
EncoderDecoder.dropout = 0.1
synthetic_tokens.vocabulary_size = 64
synthetic_tokens.encoder_length = 16
synthetic_tokens.decoder_length = 8
synthetic_tokens.validation_batches = 0
constant_schedule.learning_rate = 1e-2
"""


@pytest.fixture(scope="module")
def train(on_npu, tmp_path_factory):
    """Runs or resumes; the losses of all steps, the process's standard error and environment.json."""
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.gin"
    recipe.write_text(RECIPE)

    def run(backend, run_dir, *bindings, steps=10, **environment):
        # As a user starts it: nothing is said to JAX but by the recipe.
        done = on_npu(
            *("-m", "pangu_jax.train", "--gin_file", recipe, "--run_dir", run_dir),
            *(f"--gin.train.backend={backend}", f"--gin.train.steps={steps}"),
            *bindings,
            **{"JAX_PLATFORMS": ""} | environment,
        )
        assert done.returncode == 0, done.stderr
        rows = [row for row in metrics.read(run_dir / "metrics.jsonl") if "loss" in row]
        environment = json.loads((run_dir / "environment.json").read_text())
        return {row["step"]: row["loss"] for row in rows}, environment, done.stderr

    return run


def largest_difference(first: dict[int, float], second: dict[int, float]) -> float:
    assert first.keys() == second.keys()
    return max(abs(first[step] - second[step]) / abs(second[step]) for step in first)


def test_npu_trains_as_cpu_does_and_each_goes_on_with_the_other(train, tmp_path, proof):
    on_npu, environment, _ = train("npu", tmp_path / "npu")
    assert environment["devices"] == "8 x Ascend910B1, simulated"
    on_cpu, _, _ = train("cpu:8", tmp_path / "cpu")
    assert list(on_npu) == list(range(1, 11)) and all(map(math.isfinite, on_npu.values()))
    apart = largest_difference(on_npu, on_cpu)
    proof("ten steps, data 2 x model 2 x fsdp 2: largest relative difference of a loss, npu and cpu", apart)
    assert apart < 1e-5
    # Two more steps: of npu's checkpoint on cpu, and of cpu's on npu.
    npu_then_cpu, _, _ = train("cpu:8", tmp_path / "npu", steps=12)
    cpu_then_npu, _, _ = train("npu", tmp_path / "cpu", steps=12)
    apart = largest_difference(npu_then_cpu, cpu_then_npu)
    proof("two more steps after the platforms changed places: largest relative difference", apart)
    assert len(npu_then_cpu) == 12 and apart < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_program_of_a_run_is_verified(train, tmp_path, proof, dtype):
    """From the first step on, whose update magnifies rounding: g / (abs(g) + eps)."""
    reports = tmp_path / "reports"
    one_device = (f"--gin.Layout.{axis}=1" for axis in ("data", "model", "fsdp"))
    _, _, said = train(
        *("npu:1", tmp_path / "run", *one_device, f"--gin.Layout.compute_dtype='{dtype}'"),
        steps=2,
        PANGU_ASCEND_MODE="verify",
        PANGU_ASCEND_REPORTS=str(reports),
    )
    assert "0 programs not verified" in said
    [path] = reports.glob("jit_train_step-*/plugin.json")
    record = json.loads(path.read_text("utf-8"))
    assert (record["compiled"], record["executions"]) == ("whole", 2)
    largest = record["largest_difference"]
    proof(
        f"two verified steps, {dtype}: largest difference; elements left out", (largest, record["magnified"])
    )
    assert largest < {"float32": 1e-5, "bfloat16": 2e-2}[dtype]
