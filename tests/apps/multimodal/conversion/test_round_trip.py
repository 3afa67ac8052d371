"""What transformers made of pictures and texts, imported models make too; an export gives the files back."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from pangu_jax.apps.multimodal.conversion import exporting, importing
from pangu_jax.cli import main
from pangu_jax.models.placement import OneDevice
from pangu_jax.runs import opening
from tests.apps.multimodal.conversion import golden, models

ATOL = 1e-4  # what the project promises
# As published files have them: half of a model, or all of it.
NARROW = {
    "chinese_clip/other": (np.float16, ""),
    "siglip/other": (ml_dtypes.bfloat16, "mlp"),
}


class Way(NamedTuple):
    """A model's files, the run that was made of them, and the files that were made of that."""

    kind: str
    tensors: models.Arrays
    source: Path
    run_dir: Path
    out: Path


@pytest.fixture(scope="module", params=golden.KINDS)
def way(request, tmp_path_factory) -> Way:
    kind, folder = request.param, tmp_path_factory.mktemp("way")
    narrow, part = NARROW.get(kind, (np.float32, "-"))
    tensors = models.found(kind).tensors
    tensors = {key: value.astype(narrow) if part in key else value for key, value in tensors.items()}
    source = models.write(kind, folder / "source", tensors)
    importing.import_towers(source, folder / "run")
    exporting.export_towers(folder / "run", folder / "out")
    return Way(kind, tensors, source, folder / "run", folder / "out")


def features(run_dir: Path, pixels: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    run = opening.open_run(run_dir, family="multimodal", float32=True)
    forward = run.workload.config.forward(OneDevice(), "none", jnp.float32)

    @jax.jit
    def both(params, pixels, tokens):
        image = forward.image_embedding(params, forward.seen(params, pixels))
        return image, forward.text_embedding(params, tokens)

    return both(run.variables.params, pixels, tokens)


def test_features_are_those_of_transformers(way, proof):
    expected = models.found(way.kind)
    image, text = features(way.run_dir, golden.pictures(), golden.texts())
    np.testing.assert_allclose(image, expected.image, atol=ATOL)
    np.testing.assert_allclose(text, expected.text, atol=ATOL)
    # They tell pictures and texts apart: of what is compared something is there.
    assert np.abs(expected.image[0] - expected.image[1]).max() > 0.05
    assert np.abs(expected.text[0] - expected.text[1]).max() > 0.05
    difference = max(np.abs(image - expected.image).max(), np.abs(text - expected.text).max())
    proof(f"{way.kind}: largest difference of a feature", float(difference))


def test_the_files_come_back_to_the_bit(way):
    found = load_file(way.out / "model.safetensors")
    assert found.keys() == way.tensors.keys()
    for key, value in way.tensors.items():
        assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape), key
        assert found[key].tobytes() == np.ascontiguousarray(value).tobytes(), key


def test_what_is_beside_the_tensors_comes_back(way):
    assert json.loads((way.out / "config.json").read_text()) == models.found(way.kind).config
    given = json.loads((way.out / "preprocessor_config.json").read_text())
    assert (given["image_mean"], given["image_std"]) == (list(golden.MEAN), list(golden.DEVIATION))
    name = "spiece.model" if way.kind.startswith("siglip") else "vocab.txt"
    assert (way.out / name).read_bytes() == (way.source / name).read_bytes()


def test_shards_and_verbs(tmp_path, capsys):
    """By the command line, in several files and with what version 4 stored of positions."""
    tensors = models.found("chinese_clip").tensors
    for tower in ("text_model", "vision_model"):
        tensors[f"{tower}.embeddings.position_ids"] = np.arange(9)[None]
    source = models.write("chinese_clip", tmp_path / "source", tensors)
    run = ["--run_dir", str(tmp_path / "run")]
    assert main(["checkpoint", "import", "--format", "hf", str(source), *run]) == 0
    said = capsys.readouterr().out
    assert "ChineseCLIPModel, 16,041 parameters (F32), pictures of 12 pixels, captions of 9 tokens" in said
    out = ["--out", str(tmp_path / "out"), "--shard_gb", "1e-5"]
    assert main(["checkpoint", "export", "--format", "hf", *run, *out]) == 0
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 1
    found = {key: value for file in files for key, value in load_file(file).items()}
    assert found.keys() == models.found("chinese_clip").tensors.keys()
    assert all(np.array_equal(found[key], tensors[key]) for key in found)
