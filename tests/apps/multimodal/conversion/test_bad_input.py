"""What cannot be imported or exported is one line that names it, exit 2, and leaves nothing behind."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pangu_jax.apps.multimodal.conversion import hugging_face
from pangu_jax.apps.multimodal.conversion.chinese_clip import CHINESE_CLIP
from pangu_jax.apps.multimodal.conversion.siglip import SIGLIP
from pangu_jax.cli import main
from pangu_jax.errors import UserError
from tests.apps.multimodal.conversion import models

TENSORS, CONFIG = "model.safetensors", "config.json"
FC1 = "vision_model.encoder.layers.1.mlp.fc1.weight"


def refused(capsys, message: str, verb: str, *arguments: object) -> None:
    capsys.readouterr()
    assert main(["checkpoint", verb, "--format", "hf", *map(str, arguments)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and message in said[0], said


def tensors(change: Callable[[models.Arrays], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        found = load_file(folder / TENSORS)
        change(found)
        save_file({key: np.ascontiguousarray(value) for key, value in found.items()}, folder / TENSORS)

    return write


def entries(part: str = "", file: str = CONFIG, **values) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        found = json.loads((folder / file).read_text())
        (found[part] if part else found).update(values)
        (folder / file).write_text(json.dumps(found))

    return write


def written(name: str, content: bytes | None) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(content)

    return write


TEXT, VISION = "text_config", "vision_config"
CLIP = {
    "missing": (tensors(lambda t: t.pop(FC1)), f"{FC1} is missing"),
    "a pooler": (
        tensors(lambda t: t.update({"text_model.pooler.dense.bias": np.ones(16, np.float32)})),
        "text_model.pooler.dense.bias has no place",
    ),
    "another width": (
        entries(projection_dim=9),
        "visual_projection.weight is 20x24 instead of 9x24, text_projection.weight is 20x16 instead of 9x16",
    ),
    "int8": (
        tensors(lambda t: t.update({FC1: t[FC1].astype(np.int8)})),
        f"{FC1} is I8: its weights are quantised",
    ),
    "list": (entries(text_config=[1]), "text_config is no object"),
    "heads": (entries(VISION, num_attention_heads=5), "d_model 24 is not divisible by heads 5"),
    "activation": (entries(TEXT, hidden_act="relu"), "hidden_act 'relu' is not known: one of gelu"),
    "relative": (
        entries(TEXT, position_embedding_type="relative_key"),
        "position_embedding_type is 'relative_key', and only models with 'absolute' can be imported",
    ),
    "padding": (entries(TEXT, pad_token_id=3), "pad_token_id is 3, and only models with 0"),
    "oblong": (
        entries(VISION, image_size=[12, 16]),
        "image_size is [12, 16] instead of a size: only squares",
    ),
    "layers": (entries(TEXT, num_hidden_layers=10**9), "2 and 1000000000 layers, and the files hold 79"),
    "epsilon": (entries(TEXT, layer_norm_eps=0), "layer_norm_eps is 0 instead of a small number"),
    "pixels": (
        entries(file="preprocessor_config.json", image_std=[0, 1, 1]),
        "deviation (0.0, 1.0, 1.0): give numbers above 0",
    ),
    "no vocabulary": (written("vocab.txt", None), "has neither vocab.txt nor tokenizer.json"),
    "a long vocabulary": (
        written("vocab.txt", "\n".join([*models.SPECIAL, *map(str, range(40))]).encode()),
        "the vocabulary has 45 ids and the model 40: it is another's",
    ),
    "a vocabulary without its end": (
        written("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\na\n"),
        "a vocabulary of word pieces has [SEP], and this one has not",
    ),
    "a vocabulary twice": (
        written("vocab.txt", b"[PAD]\na\na\n"),
        "a vocabulary of word pieces has each once",
    ),
}
OF_SIGLIP = {
    "no head": (
        entries(VISION, vision_use_head=False),
        "vision_use_head is False, and only models with True",
    ),
    "a bias": (tensors(lambda t: t.pop("logit_bias")), "logit_bias is missing"),
    "gemma": (written("spiece.model", None), "has no spiece.model, SigLIP's vocabulary"),
    "damaged": (written("spiece.model", b"\x0a\x0b"), "spiece.model is no sentencepiece model"),
    "another head": (
        entries(TEXT, projection_size=20),
        "text_model.head.weight is 24x16 instead of 20x16, text_model.head.bias is 24 instead of 20",
    ),
}


@pytest.mark.parametrize(
    ("kind", "what"), [("chinese_clip", what) for what in CLIP] + [("siglip", what) for what in OF_SIGLIP]
)
def test_a_folder_that_is_no_such_model(kind, what, tmp_path, capsys):
    damage, message = (CLIP if kind == "chinese_clip" else OF_SIGLIP)[what]
    damage(models.write(kind, tmp_path / "source"))
    refused(capsys, message, "import", tmp_path / "source", "--run_dir", tmp_path / "run")
    assert not list(tmp_path.glob("run*"))


def test_flags_that_fit_nothing(tmp_path, capsys):
    source = models.write("siglip", tmp_path / "source")
    given = ["import", source, "--run_dir", tmp_path / "run"]
    refused(capsys, "--heads and --size are for models of vision", *given, "--size", 24)
    refused(capsys, "is there and not empty", *given[:-1], tmp_path)


def of(kind: str) -> hugging_face.Towers:
    theirs = models.found(kind).config
    described = hugging_face.KINDS[kind]
    return hugging_face.towers_of(described, theirs, "config.json", *described.pixels)


@pytest.mark.parametrize(
    ("kind", "tower", "change", "message"),
    [
        (CHINESE_CLIP, "image", {"patch_bias": True}, "VisionTransformer.patch_bias is True, and Chinese"),
        (
            CHINESE_CLIP,
            "text",
            {"norm": "before"},
            "TextTransformer.norm is 'before', and ChineseCLIPModel has",
        ),
        (
            CHINESE_CLIP,
            "text",
            {"segments": 0},
            "TextTransformer.segments is 0, and ChineseCLIPModel has some",
        ),
        (SIGLIP, "image", {"pooling": "mean"}, "VisionTransformer.pooling is 'mean', and SiglipModel has"),
        (SIGLIP, "text", {"padding": 0}, "TextTransformer.padding is 0, and SiglipModel has 1"),
    ],
)
def test_a_model_that_transformers_cannot_say(kind, tower, change, message):
    towers = of(kind.model_type)
    changed = towers._replace(
        **{tower: type(getattr(towers, tower))(**vars(getattr(towers, tower)) | change)}
    )
    hugging_face.to_theirs(kind, towers, {}, "runs/a")
    with pytest.raises(UserError, match=message):
        hugging_face.to_theirs(kind, changed, {}, "runs/a")
