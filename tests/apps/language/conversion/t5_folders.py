"""Folders as Hugging Face has them, made of golden.npz: no torch needed."""

import io
import json
from pathlib import Path

import numpy as np
import sentencepiece
from safetensors.numpy import save_file
from sentencepiece import sentencepiece_model_pb2

from tests.apps.language.conversion.golden import FILE
from tests.data.made_up import sentences

Tensors = dict[str, np.ndarray]


def config_of(kind: str) -> dict:
    with np.load(FILE) as golden:
        return json.loads(str(golden[f"{kind}/config"]))


def tensors_of(kind: str, dtype=np.float32) -> Tensors:
    prefix = f"{kind}/tensors/"
    with np.load(FILE) as golden:
        names = [name for name in golden if name.startswith(prefix)]
        return {name.removeprefix(prefix): golden[name].astype(dtype) for name in names}


def expected(kind: str) -> tuple[np.ndarray, float]:
    """transformers' logits fp32 [B, T, V], and its loss."""
    with np.load(FILE) as golden:
        return golden[f"{kind}/logits"], float(golden[f"{kind}/loss"])


def spiece(own_sentinels: bool = False) -> bytes:
    """A sentencepiece model under T5's conventions; as mT5's, with its 100 sentinels inside."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([sentences(seed, 2) for seed in range(200)]),
        model_writer=model,
        vocab_size=110,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    for i in reversed(range(100 if own_sentinels else 0)):  # as seqio adds them
        kind = sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED
        proto.pieces.add(piece=f"▁<extra_id_{i}>", score=0.0, type=kind)
    return proto.SerializeToString()


def write(folder: Path, config: dict, tensors: Tensors, vocabulary: bytes, shards: int = 1) -> Path:
    """The folder, made."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "spiece.model").write_bytes(vocabulary)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    weight_map = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = dict(list(tensors.items())[number::shards])
        save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder
