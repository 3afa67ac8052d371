"""What other libraries computed of pictures, imported models compute too; an export gives the files back."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from pangu_jax.apps.vision.conversion import exporting, importing
from pangu_jax.cli import main
from pangu_jax.models.placement import OneDevice
from pangu_jax.runs import opening
from pangu_jax.workloads.vision.model import classifying, trunk
from pangu_jax.workloads.vision.model.pixels import centred
from tests.apps.vision.conversion import golden, models

ATOL = 1e-4  # what the project promises; 1e-5 is seen
KINDS = [
    f"{library}/{kind}"
    for library, kinds in (
        ("timm", golden.TIMM),
        ("hf", golden.HUGGING_FACE),
        ("big_vision", golden.BIG_VISION),
    )
    for kind in kinds
]
# As published files have them: bf16, fp16, or both kinds in one model.
NARROW = {"timm/mean": (np.float16, "norm"), "hf/pooler": (ml_dtypes.bfloat16, ""), "big_vision/map": (
    ml_dtypes.bfloat16, "MlpBlock",
)}  # fmt: skip


class Way(NamedTuple):
    """A model's files, the run that was made of them, and the files that were made of that."""

    name: str
    tensors: models.Arrays
    run_dir: Path
    out: Path


def asked(name: str) -> dict:
    return {"size": golden.SIDE} if name == "big_vision/sines" else {}


@pytest.fixture(scope="module", params=KINDS)
def way(request, tmp_path_factory) -> Way:
    name, folder = request.param, tmp_path_factory.mktemp("way")
    tensors = models.golden(name).tensors
    narrow, wide = NARROW.get(name, (np.float32, "-"))
    tensors = {key: value if wide and wide in key else value.astype(narrow) for key, value in tensors.items()}
    source = models.write(name, folder / "source", tensors)
    library = name.split("/")[0]
    importing.import_vision(library, source, folder / "run", **asked(name))
    exporting.export_vision(library, folder / "run", folder / "out")
    return Way(name, tensors, folder / "run", folder / "out")


def logits(run_dir: Path, images: np.ndarray) -> np.ndarray:
    run = opening.open_run(run_dir, family="vision", float32=True)
    config = run.workload.model
    forward = config.forward(OneDevice(), "none", jnp.float32)
    stream = trunk.whole(config, centred(jnp.asarray(images)))
    return np.asarray(jax.jit(classifying.logits, static_argnums=0)(forward, run.variables.params, stream))


def test_logits_are_those_of_the_library(way, proof):
    expected = models.golden(way.name).logits
    channels = golden.TIMM.get(way.name.removeprefix("timm/"), {}).get("in_chans", 3)
    found = logits(way.run_dir, golden.pictures(channels=channels))
    np.testing.assert_allclose(found, expected, atol=ATOL)
    assert np.abs(expected).max() > 0.3  # of what is compared something is there
    proof(f"{way.name}: largest difference of a logit", float(np.abs(found - expected).max()))


def test_the_files_come_back_to_the_bit(way):
    if way.name.startswith("big_vision"):
        with np.load(way.out / "model.npz") as found:
            found = {key: found[key] for key in found.files}
        tensors = {key: models.bits(value) for key, value in way.tensors.items()}
    else:
        found, tensors = load_file(way.out / "model.safetensors"), way.tensors
    assert found.keys() == tensors.keys()
    for key, value in tensors.items():
        assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape), key
        assert found[key].tobytes() == np.ascontiguousarray(value).tobytes(), key


def test_the_configuration_comes_back(way):
    """All that the library wrote, in timm's with every argument of the model spelt out."""
    if way.name.startswith("big_vision"):
        pytest.skip("has none")
    source = models.golden(way.name).config
    found = json.loads((way.out / "config.json").read_text())
    if way.name.startswith("timm"):
        assert found["model_args"].items() >= source.get("model_args", {}).items()
        assert found["pretrained_cfg"].items() >= source["pretrained_cfg"].items()
        source = {key: source[key] for key in ("architecture", "num_classes", "num_features", "global_pool")}
    assert found.items() >= source.items()


def test_what_one_library_wrote_another_reads(tmp_path):
    """From transformers to timm and back: a classifier with a class token is the same in both."""
    source = models.write("hf/classes", tmp_path / "hf")
    config = json.loads((source / "config.json").read_text()) | {"layer_norm_eps": 1e-6}
    (source / "config.json").write_text(json.dumps(config))
    importing.import_vision("hf", source, tmp_path / "a")
    exporting.export_vision("timm", tmp_path / "a", tmp_path / "timm")
    importing.import_vision("timm", tmp_path / "timm", tmp_path / "b")
    exporting.export_vision("hf", tmp_path / "b", tmp_path / "again")
    before, after = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "again"))
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[key], after[key]) for key in before)
    given = json.loads((tmp_path / "again/preprocessor_config.json").read_text())
    assert (given["image_mean"], given["image_std"]) == ([0.5] * 3, [0.5] * 3)


@pytest.mark.parametrize("side", [golden.LARGER, golden.SMALLER])
def test_positions_are_resized_as_timm_does(side, tmp_path):
    source = models.write("timm/token", tmp_path / "source")
    found = importing.import_vision("timm", source, tmp_path / "run", size=side)
    grid = side // 4
    assert found["notes"] == [f"positions resized from 3 x 3 to {grid} x {grid}"]
    positions, expected = models.resized(side)
    params = opening.open_run(tmp_path / "run", float32=True).variables.params["trunk"]
    table = np.concatenate([params["token_position"][None], params["positions"]])
    np.testing.assert_allclose(table, positions, atol=1e-6)
    if side == golden.LARGER:  # one of them is compiled
        np.testing.assert_allclose(logits(tmp_path / "run", golden.pictures(side)), expected, atol=ATOL)


def test_hivit_is_the_trunk_it_was(tmp_path):
    """Of pictures that ImageNet's mean was taken from; its head is left out, and said."""
    source = models.write("hivit/features", tmp_path / "source")
    found = importing.import_vision("pth", source, tmp_path / "run", heads=2)
    assert found["notes"][0].startswith("left out, what paints masked pixels, and heads: 4 tensors")
    run = opening.open_run(tmp_path / "run", float32=True)
    config = run.workload.model
    assert (config.size, config.unit, config.depths, config.d_model) == (16, 8, (1, 2, 2), 32)
    forward = config.forward(OneDevice(), "none", jnp.float32)
    stream = trunk.whole(config, centred(jnp.asarray(golden.pictures(16))))
    features = jax.jit(trunk.features, static_argnums=0)(forward, run.variables.params, stream)
    np.testing.assert_allclose(features[-1], models.golden("hivit/features").logits, atol=ATOL)


def test_mae_is_timms_with_a_painter_that_is_left_out(tmp_path):
    """The names and shapes of facebookresearch/mae, of which the encoder's are timm's."""
    encoder = models.golden("timm/token")
    painter = {"mask_token": np.ones((1, 1, 8), np.float32), "decoder_norm.weight": np.ones(8, np.float32)}
    tensors = {key: value for key, value in encoder.tensors.items() if not key.startswith("head")}
    source = models.pth(tmp_path / "mae.pth", tensors | painter, epoch=b"K\x05")
    found = importing.import_vision("pth", source, tmp_path / "run", heads=2)
    named = "decoder_norm.weight, mask_token"
    assert found["notes"] == [f"left out, what paints masked pixels: 2 tensors ({named})"]
    run = opening.open_run(tmp_path / "run", float32=True)
    assert run.workload.model.mean == (0.485, 0.456, 0.406)
    exporting.export_vision("timm", tmp_path / "run", tmp_path / "out")
    found = load_file(tmp_path / "out/model.safetensors")
    assert found.keys() == tensors.keys() and all(np.array_equal(found[key], tensors[key]) for key in found)


def test_old_and_two_tower_files_of_big_vision(tmp_path):
    """vision_transformer's names of modules, and a text tower beside it, which is left out."""
    tensors = models.golden("big_vision/tok").tensors
    old = {"Attention_0": "Attention_1", "LayerNorm_1": "LayerNorm_2", "MlpBlock_0": "MlpBlock_3"}
    named = {}
    for key, value in tensors.items():
        for new, before in old.items():
            key = key.replace(new, before)
        named[key.replace("params/pos_embedding", "params/Transformer/posembed_input/pos_embedding")] = value
    positions = named["params/Transformer/posembed_input/pos_embedding"]
    named["params/Transformer/posembed_input/pos_embedding"] = np.pad(positions, ((0, 0), (1, 0), (0, 0)))
    named = {key.replace("params/", "params/img/"): value for key, value in named.items()}
    np.savez(tmp_path / "two.npz", **named, **{"params/txt/embed": np.ones(3, np.float32)})
    found = importing.import_vision("big_vision", tmp_path / "two.npz", tmp_path / "run")
    assert found["notes"] == ["left out, what is not under params/img/: 1 tensors (params/txt/embed)"]
    expected = models.golden("big_vision/tok").logits
    np.testing.assert_allclose(logits(tmp_path / "run", golden.pictures()), expected, atol=ATOL)
    exporting.export_vision("big_vision", tmp_path / "run", tmp_path / "out")
    with np.load(tmp_path / "out/model.npz") as back:
        assert set(back.files) == set(named)
        assert all(np.array_equal(back[key], named[key]) for key in named)


def test_the_command_says_what_it_made(tmp_path, capsys):
    """`--format hf` of a ViT is vision's, on the way in and on the way out."""
    source = models.write("hf/classes", tmp_path / "source")
    run, out = ["--run_dir", str(tmp_path / "run")], ["--out", str(tmp_path / "out")]
    assert main(["checkpoint", "import", str(source), "--format", "hf", *run]) == 0
    assert (
        "vit of transformers, 4,997 parameters (F32), pictures of 12 pixels, 5 classes"
        in capsys.readouterr().out
    )
    assert main(["checkpoint", "export", "--format", "hf", *run, *out]) == 0
    assert "step 0: 40 tensors (F32)" in capsys.readouterr().out
