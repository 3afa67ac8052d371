"""Models of transformers as their files have them, made of golden.jsonl: transformers is not needed."""

import functools
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sentencepiece
from safetensors.numpy import save_file

from tests.apps.multimodal.conversion import golden

Arrays = dict[str, np.ndarray]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (*"红色的圆在左边蓝方块右上下狗跑", "dog", "##s", "run", "##ning", "cafe", ",", "!")
SENTENCES = ["a red circle on the left", "two dogs run", "blue square above a green circle"] * 9


class Golden(NamedTuple):
    """A small model of transformers, and what it made of `golden.pictures` and `golden.texts`."""

    tensors: Arrays
    image: np.ndarray
    text: np.ndarray
    config: dict


@functools.cache
def _lines() -> dict[str, dict]:
    lines = golden.FILE.read_text("utf-8").splitlines()
    return {name: value for line in lines for name, value in json.loads(line).items()}


def found(kind: str) -> Golden:
    line = _lines()[kind]
    tensors = {key: golden.drawn(key, tuple(shape)) for key, shape in line["shapes"].items()}
    return Golden(tensors, *(np.array(line[name], np.float32) for name in ("image", "text")), line["config"])


@functools.cache
def sentence_pieces() -> bytes:
    """A sentencepiece model with SigLIP's ids: padding, </s>, unknown."""
    model = io.BytesIO()
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        vocab_size=golden.PIECES,
        **ids,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()


def write(kind: str, at: Path, tensors: Arrays | None = None) -> Path:
    """The model as transformers would have saved it, with its vocabulary."""
    model = found(kind)
    at.mkdir(parents=True)
    (at / "config.json").write_text(json.dumps(model.config))
    save_file(model.tensors if tensors is None else tensors, at / "model.safetensors")
    pixels = {"image_mean": golden.MEAN, "image_std": golden.DEVIATION}
    (at / "preprocessor_config.json").write_text(json.dumps(pixels))
    if kind.startswith("siglip"):
        (at / "spiece.model").write_bytes(sentence_pieces())
    else:
        (at / "vocab.txt").write_text("".join(f"{piece}\n" for piece in (*SPECIAL, *WORDS)), "utf-8")
    return at
