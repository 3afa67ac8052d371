"""A published folder to a run directory and back: the same to the bit; and what a run of it can do."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from pangu_jax import cli
from pangu_jax.apps.language.conversion.openpangu import importing
from pangu_jax.runs import opening
from pangu_jax.runs.checkpoints import Checkpoints
from tests.apps.language.conversion.openpangu import folders


def held(folder):
    """Every tensor of a folder."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def imported(tmp_path, kind="7b", dtype=np.float32, **how):
    tensors = {name: tensor.astype(dtype) for name, tensor in folders.tensors_of(kind).items()}
    config = folders.config_of(kind) | {"torch_dtype": np.dtype(dtype).name}
    folder = folders.write(
        tmp_path / "published", kind, tensors | folders.frequencies(kind), config=config, **how
    )
    command = ["checkpoint", "import", "--format", "hf", str(folder), "--run_dir", str(tmp_path / "run")]
    assert cli.main(command) == 0
    return folder, tmp_path / "run"


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("7b", ml_dtypes.bfloat16), ("1b", np.float32), ("pro", np.float32), ("ultra", np.float32)],
)
def test_there_and_back(tmp_path, capsys, kind, dtype):
    folder, run = imported(tmp_path, kind, dtype)
    said = capsys.readouterr().out
    assert (
        importing.examine(folder).kind.name in said
        and "Powered by openPangu" in said
        and "European Union" in said
    )
    out = tmp_path / "out"
    assert cli.main(["checkpoint", "export", "--format", "hf", "--run_dir", str(run), "--out", str(out)]) == 0
    theirs, ours = held(folder), held(out)
    assert theirs.keys() == ours.keys()
    for name, tensor in theirs.items():
        assert tensor.dtype == ours[name].dtype and tensor.tobytes() == ours[name].tobytes(), name
    assert (out / "tokenizer.model").read_bytes() == (folder / "tokenizer.model").read_bytes()
    for name in ("config.json", "generation_config.json"):
        assert json.loads((out / name).read_text()) == json.loads((folder / name).read_text())
    again = importing.examine(out)
    assert again.config == importing.examine(folder).config


@pytest.mark.parametrize("kind", ["7b", "pro", "ultra"])
def test_generates(tmp_path, capsys, kind):
    _, run = imported(tmp_path, kind)
    capsys.readouterr()
    command = ["generate", "--run_dir", str(run), "--prompt", "你好", "--max_tokens", "8", "--json", "-"]
    assert cli.main(command) == 0
    assert json.loads(capsys.readouterr().out)


def test_what_a_correction_bias_has_learnt_is_exported(tmp_path):
    """It is state beside the parameters, and among theirs: without it tokens would go elsewhere."""
    _, run = imported(tmp_path, "ultra")
    learnt = 0.5 + np.arange(24, dtype=np.float32).reshape(3, 8)  # two layers with experts, and what predicts
    with opening.find(run) as found, Checkpoints(run / "checkpoints") as checkpoints:
        opened = opening.restore(found, opening.describe(found, "language"))
        state = {name: np.asarray(value) for name, value in opened.variables.extra["experts"].items()}
        recipe = found.manifest["recipe"].replace("Experts.bias_speed = 0.0", "Experts.bias_speed = 0.001")
        manifest = {name: found.manifest[name] for name in ("fingerprint", importing.KEY)} | {
            "recipe": recipe
        }
        (run / "recipe.gin").write_text(recipe)
        arrays = {"params": opened.variables.params, "extra": {"experts": state | {"bias": learnt}}}
        checkpoints.save(1, arrays, manifest)
    out = tmp_path / "out"
    assert cli.main(["checkpoint", "export", "--format", "hf", "--run_dir", str(run), "--out", str(out)]) == 0
    drawn, found = folders.tensors_of("ultra"), held(out)
    for row, layer in enumerate((1, 2, 3)):
        name = f"model.layers.{layer}.mlp.gate.e_score_correction_bias"
        np.testing.assert_allclose(found[name], drawn[name] + learnt[row], rtol=1e-6)
