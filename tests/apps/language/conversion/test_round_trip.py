"""What transformers computed with a checkpoint, an imported one computes too; an export gives it back."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from pangu_jax import recipes
from pangu_jax.apps.language import loading
from pangu_jax.apps.language.conversion import config as configs
from pangu_jax.apps.language.conversion.exporting import export_hugging_face
from pangu_jax.apps.language.conversion.importing import import_hugging_face
from pangu_jax.cli import main
from pangu_jax.parallel.layout import Layout
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.inference_layout import Devices
from pangu_jax.workloads.language.model.forward import Forward
from tests.apps.language.conversion import golden, t5_folders

ATOL = 1e-4  # what the project promises; 1e-5 is seen


class Kept(NamedTuple):
    """A folder in the state that some model is published in, and its way through a run directory."""

    kind: str
    source: Path
    run_dir: Path
    out: Path


def published(kind: str) -> t5_folders.Tensors:
    """t5 in fp32; v1.1 in fp16 with `wo` in fp32, as transformers saves it; mt5 in bf16, a layer in fp32."""
    narrow = {"t5": np.float32, "t5_v1_1": np.float16, "mt5": ml_dtypes.bfloat16}[kind]
    wide = {"t5": "", "t5_v1_1": "DenseReluDense.wo", "mt5": "decoder.block.1."}[kind]
    tensors = t5_folders.tensors_of(kind)
    return {name: t if wide in name else t.astype(narrow) for name, t in tensors.items()}


@pytest.fixture(scope="module", params=list(golden.KINDS))
def kept(request, tmp_path_factory, spiece, mt5_spiece) -> Kept:
    folder = tmp_path_factory.mktemp(request.param)
    source = t5_folders.write(
        folder / "source",
        t5_folders.config_of(request.param),
        published(request.param),
        mt5_spiece if request.param == "mt5" else spiece,
        shards=3 if request.param == "t5" else 1,
    )
    import_hugging_face(source, folder / "run")
    return Kept(request.param, source, folder / "run", folder / "out")


def batch_of(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    source_length, target_length = given["inputs"].shape[1], given["shifted"].shape[1]
    seen_BxS = (given["inputs"] != 0).astype(np.int32)
    ones_BxT = np.ones_like(given["shifted"], np.int32)
    return {
        "encoder_input_tokens": given["inputs"].astype(np.int32),
        "encoder_segment_ids": seen_BxS,
        "encoder_positions": np.arange(source_length) * np.ones_like(seen_BxS),
        "decoder_input_tokens": given["shifted"].astype(np.int32),
        "decoder_target_tokens": given["targets"].astype(np.int32),
        "decoder_segment_ids": ones_BxT,
        "decoder_positions": np.arange(target_length) * ones_BxT,
        "decoder_loss_weights": ones_BxT.astype(np.float32),
    }


def restored(run_dir: Path):
    """The model's configuration, and its parameters in fp32."""
    model = loading.load(run_dir, devices=Devices("cpu"), float32=True)
    return model.config, model.params


def computed(run_dir: Path, given: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Logits and mean loss of a run directory's newest checkpoint."""
    config, params = restored(run_dir)
    forward, batch = Forward(config), batch_of(given)

    @jax.jit
    def both(params):
        hidden = forward.decode(params, batch, forward.encode(params, batch))
        token_loss_BxT = forward.loss(params, batch).token_loss_BxT
        return forward.logits(params, hidden), jnp.mean(token_loss_BxT)

    logits_BxTxV, loss = both(params)
    return np.asarray(logits_BxTxV), float(loss)


def test_logits_and_loss_are_those_of_transformers(kept):
    logits_BxTxV, loss = t5_folders.expected(kept.kind)
    found_BxTxV, found = computed(kept.run_dir, golden.tokens(30, 5))
    np.testing.assert_allclose(found_BxTxV, logits_BxTxV, atol=ATOL)
    assert found == pytest.approx(loss, abs=ATOL)
    assert np.ptp(logits_BxTxV) > 1  # else anything would agree


def test_an_export_is_the_import_to_the_bit(kept):
    """Also by way of eight devices, none of which holds a whole array."""
    eight = Devices("cpu:8", Layout(data=1, fsdp=4, model=2))
    found = export_hugging_face(kept.run_dir, kept.out, shard_gb=1e-5, devices=eight)
    assert len(found["files"]) > 3
    before = {}
    for file in kept.source.glob("*.safetensors"):
        before |= load_file(file)
    after, index = {}, json.loads((kept.out / "model.safetensors.index.json").read_text())
    for file in found["files"]:
        assert (kept.out / file).stat().st_size < 30_000
        after |= (part := load_file(kept.out / file))
        assert {index["weight_map"][name] for name in part} == {file}
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype and tensor.tobytes() == after[name].tobytes(), name
    assert (kept.out / "spiece.model").read_bytes() == (kept.source / "spiece.model").read_bytes()
    config = json.loads((kept.out / "config.json").read_text())
    published = {name: value for name, value in t5_folders.config_of(kept.kind).items() if name != "dtype"}
    assert {name: config[name] for name in published} == published
    assert config["torch_dtype"] == {"t5": "float32", "t5_v1_1": "float16", "mt5": "bfloat16"}[kept.kind]


def test_the_recipe_is_one_to_train_by(kept):
    recipe = recipes.load([kept.run_dir / "recipe.gin"], function="pangu_jax.training.train.train")
    assert recipes.check(recipe) == []
    assert recipe.value("corpus.vocabulary_file") == str(kept.run_dir / "vocabulary.model")
    assert recipe.value("EncoderDecoder.tied_head") is (kept.kind == "t5")
    assert recipe.value("EncoderDecoder.head_scale") == (0.25 if kept.kind == "t5" else 1.0)


def test_a_checkpoint_trained_since_is_exported_as_it_is(kept, tmp_path):
    """Its manifest knows nothing of the import, and its parameters are fp32."""
    shutil.copytree(kept.run_dir, tmp_path / "run")
    config, params = restored(kept.run_dir)
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        checkpoints.save(7, {"params": params, "step": jnp.int32(7)}, {"recipe": "", "fingerprint": {}})
    found = export_hugging_face(tmp_path / "run", tmp_path / "out")
    assert (found["step"], found["dtypes"]) == (7, ["F32"])
    after = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in published(kept.kind).items():
        np.testing.assert_array_equal(after[name], tensor.astype(np.float32))
    again = configs.to_ours(
        json.loads((tmp_path / "out" / "config.json").read_text()), "", not config.tied_head
    )
    assert again == config


def test_an_embedding_under_another_name(tmp_path, spiece):
    """As tools that drop names of shared tensors leave it: the first name of the alphabet."""
    tensors = t5_folders.tensors_of("t5")
    table = tensors.pop("shared.weight")
    renamed = {"decoder.embed_tokens.weight": table, "lm_head.weight": table, **tensors}
    source = t5_folders.write(tmp_path / "a", t5_folders.config_of("t5"), renamed, spiece)
    import_hugging_face(source, tmp_path / "run")
    config, params = restored(tmp_path / "run")
    assert config.tied_head and "head" not in params
    np.testing.assert_array_equal(params["embedding"], table)


def test_the_command_line_does_both_ways(tmp_path, spiece, capsys):
    source = t5_folders.write(tmp_path / "a", t5_folders.config_of("t5"), t5_folders.tensors_of("t5"), spiece)
    run = ["--format", "hf", "--run_dir", str(tmp_path / "run")]
    assert main(["checkpoint", "import", str(source), *run]) == 0
    assert "210 ids in 224 rows" in capsys.readouterr().out
    assert main(["checkpoint", "export", *run, "--out", str(tmp_path / "out")]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "spiece.model",
        "tokenizer_config.json",
    ]
