"""What cannot be imported or exported is one line that names it, exit 2, and leaves nothing behind."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pangu_jax.cli import main
from tests.apps.vision.conversion import models
from tests.runs.torch_archives import nested, save

TENSORS, CONFIG = "model.safetensors", "config.json"
FC1 = "blocks.0.mlp.fc1.weight"


def refused(capsys, message: str, verb: str, *arguments: object) -> None:
    capsys.readouterr()
    assert main(["checkpoint", verb, *map(str, arguments)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and message in said[0], said


def tensors(change: Callable[[models.Arrays], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        found = load_file(folder / TENSORS)
        change(found)
        save_file({key: np.ascontiguousarray(value) for key, value in found.items()}, folder / TENSORS)

    return write


def entries(file: str = CONFIG, **values) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        found = json.loads((folder / file).read_text()) | values
        (folder / file).write_text(json.dumps(found))

    return write


def arguments(**values) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        found = json.loads((folder / CONFIG).read_text())
        found["model_args"] |= values
        (folder / CONFIG).write_text(json.dumps(found))

    return write


def nameless(folder: Path) -> None:
    entries(architecture="vit_wonder_patch4_12", model_args={"global_pool": "token"})(folder)


def truncated(folder: Path) -> None:
    (folder / TENSORS).write_bytes((folder / TENSORS).read_bytes()[:-9])


TIMM = {
    "missing": (tensors(lambda t: t.pop(FC1.replace("0", "1"))), f"{FC1.replace('0', '1')} is missing"),
    "missing first": (tensors(lambda t: t.pop(FC1)), f"{FC1} is missing"),
    "extra": (tensors(lambda t: t.update(reg_token=t["cls_token"])), "reg_token has no place"),
    "scale": (
        tensors(lambda t: t.update({"blocks.0.ls1.gamma": t["norm.bias"]})),
        "blocks.0.ls1.gamma has",
    ),
    "another width": (
        tensors(lambda t: t.update({"norm.weight": np.ones(24, np.float32)})),
        "norm.weight is 24 instead of 16",
    ),
    "no square": (
        tensors(lambda t: t.update(pos_embed=t["pos_embed"][:, :8])),
        "pos_embed holds 8 positions, which are no square and one for the class token",
    ),
    "a layer": (
        tensors(lambda t: [t.pop(key) for key in list(t) if key.startswith("blocks.0.")]),
        "blocks.0.mlp.fc1.weight is missing",
    ),
    "int8": (
        tensors(lambda t: t.update({FC1: t[FC1].astype(np.int8)})),
        f"{FC1} is I8: its weights are quantised",
    ),
    "truncated": (truncated, "is damaged or no safetensors file"),
    "no config": (lambda folder: (folder / CONFIG).unlink(), "cannot read"),
    "list": (lambda folder: (folder / CONFIG).write_text("[]"), "is no JSON object"),
    "resnet": (entries(architecture="resnet50"), "architecture 'resnet50' is no plain vision transformer"),
    "unknown heads": (nameless, "nothing in it says how many heads attention has; give them with --heads"),
    "heads": (arguments(num_heads=3), "d_model 16 is not divisible by heads 3"),
    "pooling": (arguments(global_pool="avgmax"), "global_pool 'avgmax' is not known"),
    "activation": (arguments(act_layer="quick_gelu"), "model_args has act_layer = 'quick_gelu'"),
    "argument": (arguments(rope=True), "model_args has rope = True"),
    "classes": (entries(num_classes=7), "num_classes is 7 and the head has 5"),
    "mean": (entries(pretrained_cfg={"mean": "half"}), "mean is 'half' instead of numbers"),
    "list of pooling": (arguments(global_pool=["avg"]), "global_pool ['avg'] is not known"),
    "list of pixels": (entries(pretrained_cfg=[1]), "pretrained_cfg is no object"),
    "list of arguments": (entries(model_args=[1]), "model_args is no object"),
}
HUGGING_FACE = {
    "bert": (entries(model_type="bert"), "model_type 'bert' cannot be imported: only t5"),
    "activation": (entries(hidden_act="relu"), "hidden_act 'relu' is not known"),
    "oblong": (entries(image_size=[12, 16]), "image_size is [12, 16] instead of a size: only squares"),
    "size": (entries(hidden_size="16"), "hidden_size is '16' instead of a size"),
    "layers": (entries(num_hidden_layers=10**9), "1000000000 layers, and the files hold 40 tensors"),
    "another size": (
        entries(image_size=16),
        "embeddings.position_embeddings is 1x10x16 instead of 1x17x16",
    ),
    "epsilon": (entries(layer_norm_eps="small"), "layer_norm_eps is 'small'"),
    "pixels": (entries("preprocessor_config.json", image_std=[0]), "deviation (0.0,): give numbers above 0"),
}


@pytest.mark.parametrize("what", TIMM)
def test_a_folder_that_is_no_model_of_timm(what, tmp_path, capsys):
    damage, message = TIMM[what]
    damage(models.write("timm/token", tmp_path / "source"))
    run = ["--run_dir", tmp_path / "run"]
    refused(capsys, message, "import", "--format", "timm", tmp_path / "source", *run)
    assert not list(tmp_path.glob("run*"))


@pytest.mark.parametrize("what", HUGGING_FACE)
def test_a_folder_that_is_no_vit_of_transformers(what, tmp_path, capsys):
    damage, message = HUGGING_FACE[what]
    damage(models.write("hf/classes", tmp_path / "source"))
    run = ["--run_dir", tmp_path / "run"]
    refused(capsys, message, "import", "--format", "hf", tmp_path / "source", *run)
    assert not list(tmp_path.glob("run*"))


def archived(
    change: Callable[[models.Arrays], object], name: str = "big_vision/tok"
) -> Callable[[Path], Path]:
    def write(at: Path) -> Path:
        found = dict(models.golden(name).tensors)
        change(found)
        return models.write(name, at, found)

    return write


def cut(at: Path) -> Path:
    file = models.write("big_vision/tok", at)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return file


def flipped(at: Path) -> Path:
    """One byte of an array: its checksum is wrong."""
    file = models.write("big_vision/tok", at)
    content = bytearray(file.read_bytes())
    content[content.index(b"embedding/kernel") + 400] ^= 1
    file.write_bytes(content)
    return file


def crumpled(at: Path) -> Path:
    """Compressed bytes that are none: zlib has an error of its own."""
    at.mkdir()
    np.savez_compressed(at / "model.npz", **{"params/embedding/kernel": np.arange(4096, dtype=np.float32)})
    content = bytearray((at / "model.npz").read_bytes())
    start = content.index(b"kernel.npy") + 40
    content[start : start + 400] = b"\xff" * 400
    (at / "model.npz").write_bytes(content)
    return at / "model.npz"


def objects(at: Path) -> Path:
    at.mkdir()
    np.savez(at / "model.npz", **{"params/embedding/kernel": np.array([Path("x")], object)})
    return at / "model.npz"


EMBEDDING, KERNEL = "params/embedding/kernel", "params/Transformer/encoderblock_1/MlpBlock_0/Dense_0/kernel"
NUMPY = {
    "missing": (archived(lambda t: t.pop(KERNEL)), f"{KERNEL} is missing"),
    "extra": (archived(lambda t: t.update({"params/t": np.float32([1])})), "params/t has no place"),
    "naflex": (
        archived(lambda t: t.update({EMBEDDING: t[EMBEDDING].reshape(48, 16)})),
        f"{EMBEDDING} is 48x16 instead of 4 sizes",
    ),
    "double": (
        archived(lambda t: t.update({KERNEL: t[KERNEL].astype(float)})),
        f"{KERNEL} is float64; only",
    ),
    "no size": (archived(lambda t: None, "big_vision/sines"), "holds no positions, which are by a formula"),
    "a resnet": (archived(lambda t: t.pop(EMBEDDING)), "has no embedding/kernel"),
    "truncated": (cut, "is damaged or no file of numpy.savez"),
    "flipped": (flipped, "is damaged or no file of numpy.savez (Bad CRC-32"),
    "crumpled": (crumpled, "is damaged or no file of numpy.savez (Error -3 while decompressing"),
    "objects": (objects, "holds Python's objects: no code in it is ever run here"),
}


@pytest.mark.parametrize("what", NUMPY)
def test_a_file_that_is_no_vit_of_big_vision(what, tmp_path, capsys):
    make, message = NUMPY[what]
    run = ["--run_dir", tmp_path / "run"]
    refused(capsys, message, "import", "--format", "big_vision", make(tmp_path / "source"), *run)
    assert not list(tmp_path.glob("run*"))


BIAS = "blocks.6.attn.relative_position_bias_table"


def code(at: Path) -> Path:
    """A training run's own file: {"model": ..., "args": argparse.Namespace()}."""
    at.mkdir()
    state = nested({"args": b"cargparse\nNamespace\n)\x81"})
    save(at / "model.pth", {}, state)
    return at / "model.pth"


def plain_pickle(at: Path) -> Path:
    at.mkdir()
    (at / "model.pth").write_bytes(pickle.dumps({"model": {}}))
    return at / "model.pth"


def three_merges(t: models.Arrays) -> None:
    t["blocks.9.reduction.weight"] = t["blocks.7.reduction.weight"]


HIVIT = "hivit/features"
TORCH = {
    "bias": (
        archived(lambda t: t.update({BIAS: np.ones((9, 2), np.float32)}), HIVIT),
        f"has {BIAS}:",
    ),
    "missing": (
        archived(lambda t: t.pop("blocks.6.mlp.fc2.bias"), HIVIT),
        ".6.mlp.fc2.bias is missing",
    ),
    "merges": (archived(three_merges, HIVIT), "merges tokens after blocks [2, 7, 9], and HiViT twice"),
    "no square": (
        archived(lambda t: t.update(absolute_pos_embed=np.ones((1, 5, 32), np.float32)), HIVIT),
        "absolute_pos_embed holds 5 positions, which are no square: only square pictures",
    ),
    "code": (code, "it calls argparse Namespace: no code in it is ever run here"),
    "old torch": (plain_pickle, "is no zip archive, as torch has written since version 1.6"),
}


@pytest.mark.parametrize("what", TORCH)
def test_a_file_that_is_no_model_of_torch(what, tmp_path, capsys):
    make, message = TORCH[what]
    run = ["--run_dir", tmp_path / "run", "--heads", "2"]
    refused(capsys, message, "import", "--format", "pth", make(tmp_path / "source"), *run)
    assert not list(tmp_path.glob("run*"))


def test_flags_that_fit_nothing(tmp_path, capsys):
    source = models.write("timm/token", tmp_path / "source")
    given = ["import", "--format", "timm", source, "--run_dir", tmp_path / "run"]
    refused(capsys, "--size 10: size 10 is not divisible by patch 4", *given, "--size", 10)
    refused(capsys, "--heads 0: give a number above 0", *given, "--heads", 0)
    refused(capsys, "there is no", "import", "--format", "pth", tmp_path / "a", "--run_dir", tmp_path / "run")
    refused(capsys, "is there and not empty", *given[:-1], tmp_path)
    assert not list(tmp_path.glob("run*"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A run of each that some library has no way to say."""
    folder = tmp_path_factory.mktemp("runs")
    for name, library in (("big_vision/gap", "big_vision"), ("timm/mean", "timm"), (HIVIT, "pth")):
        source = models.write(name, folder / "source" / library)
        given = ["import", "--format", library, str(source), "--run_dir", str(folder / library)]
        assert main(["checkpoint", *given, "--heads", "2"]) == 0
    return folder


@pytest.mark.parametrize(
    ("library", "run", "message"),
    [
        ("timm", "big_vision", "VisionTransformer.representation is 6, and timm's has 0"),
        ("hf", "timm", "VisionTransformer.class_token is False, and the ViT of transformers has True"),
        ("big_vision", "timm", "VisionTransformer.norm is 'pooled', and big_vision's has 'tokens'"),
        ("timm", "pth", "HierarchicalConfig cannot be exported"),
    ],
)
def test_a_run_that_a_library_cannot_say(library, run, message, runs, tmp_path, capsys):
    out = ["--out", tmp_path / "out"]
    refused(capsys, message, "export", "--format", library, "--run_dir", runs / run, *out)
    assert not list(tmp_path.iterdir())


def test_a_run_without_objectives_is_not_trained(tmp_path, capsys, runs):
    """In one line, when there are pictures for it."""
    shutil.copytree(runs / "timm", tmp_path / "run")
    assert (
        main(
            [
                "train",
                "--run_dir",
                str(tmp_path / "run"),
                "--gin_file",
                str(tmp_path / "run/recipe.gin"),
                "--gin.images.path=package:digits",
                f"--gin.images.cache_dir={tmp_path / 'cache'}",
            ]
        )
        == 2
    )
    assert "objectives" in capsys.readouterr().err
