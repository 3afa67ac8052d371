"""Writes golden.jsonl: configurations, names and shapes of small models of transformers, and what they made
of the same pictures and texts. Their weights are drawn from their names (`drawn`), here and in the tests.

    PYTHONPATH=. python tests/apps/multimodal/conversion/golden.py

Needs torch and transformers; neither is here.
"""

import json
import os
from pathlib import Path

import ml_dtypes
import numpy as np

FILE = Path(__file__).with_name("golden.jsonl")
SIDE, PICTURES, LENGTH, PIECES = 12, 2, 9, 40
TEXT = {
    "vocab_size": PIECES,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": LENGTH,
}
IMAGE = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "image_size": SIDE,
    "patch_size": 4,
}
OF_SIGLIP = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 1, "projection_size": 24}
KINDS = {
    "chinese_clip": (TEXT, IMAGE, {"projection_dim": 20}),
    "chinese_clip/other": (
        TEXT | {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3, "type_vocab_size": 3},
        IMAGE | {"hidden_act": "gelu", "layer_norm_eps": 1e-3},
        {"projection_dim": 8},
    ),
    "siglip": (TEXT | OF_SIGLIP, IMAGE, {}),
    "siglip/other": (
        TEXT | OF_SIGLIP | {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-3},
        IMAGE | {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-3},
        {},
    ),
}
MEAN, DEVIATION = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def pictures() -> np.ndarray:
    """uint8 [2, side, side, 3]."""
    return np.random.RandomState(SIDE).randint(0, 256, (PICTURES, SIDE, SIDE, 3), np.uint8)


def texts() -> np.ndarray:
    """int32 [3, length]: of different lengths, one as long as there are positions, then 0s."""
    found = np.random.RandomState(LENGTH).randint(3, PIECES, (3, LENGTH)).astype(np.int32)
    return np.where(np.arange(LENGTH) < np.array([[4], [LENGTH], [2]]), found, 0)


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A weight, fp32, that bf16 holds exactly: near 1 for scales, and nowhere at its initial value.

    By the generator of NumPy whose numbers never change.
    """
    values = np.random.RandomState([7, *name.encode()]).normal(0, 0.25, shape)
    if ("norm" in name.lower() or "layrnorm" in name) and name.endswith("weight"):
        values = values + 1
    return np.asarray(values).astype(ml_dtypes.bfloat16).astype(np.float32)


def model_of(kind: str):
    """A model of transformers in evaluation, with drawn weights."""
    import torch
    import transformers

    text, image, more = KINDS[kind]
    name = {"chinese_clip": "ChineseCLIP", "siglip": "Siglip"}[kind.split("/")[0]]
    config = getattr(transformers, f"{name}Config")(text_config=text, vision_config=image, **more)
    made = getattr(transformers, f"{name}Model")(config)
    with torch.no_grad():
        for key, parameter in made.named_parameters():
            parameter.copy_(torch.from_numpy(drawn(key, tuple(parameter.shape))))
    return made.eval()


def features_of(made, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """What it makes of `pictures` and of `texts`, of unit length: padding as its tokenizer writes it."""
    import torch

    pixels = (pictures() / 255.0 - np.asarray(MEAN)) / np.asarray(DEVIATION)
    pixels = torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32))
    tokens, mask = texts().astype(np.int64), None
    if kind.startswith("siglip"):
        tokens = np.where(tokens == 0, 1, tokens)
    else:
        mask = torch.from_numpy((tokens > 0).astype(np.int64))
    with torch.no_grad():
        image = made.get_image_features(pixels).pooler_output
        text = made.get_text_features(torch.from_numpy(tokens), attention_mask=mask).pooler_output
    return tuple((x / x.norm(dim=-1, keepdim=True)).numpy() for x in (image, text))


def main() -> None:
    golden = {}
    for kind in KINDS:
        made = model_of(kind)
        folder = Path(os.environ.get("TMPDIR", "/tmp")) / kind.replace("/", "-")
        made.save_pretrained(folder)
        image, text = features_of(made, kind)
        golden[kind] = {
            "config": json.loads((folder / "config.json").read_text()),
            "shapes": {key: list(value.shape) for key, value in made.state_dict().items()},
            "image": image.tolist(),
            "text": text.tolist(),
        }
    FILE.write_text("".join(json.dumps({name: value}) + "\n" for name, value in golden.items()), "utf-8")


if __name__ == "__main__":
    main()
