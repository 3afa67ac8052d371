"""Pairs of noise and random tokens: enough for a model to be run on."""

import numpy as np

from data_pipelines.pairs.vocabulary import CharacterVocabulary
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.multimodal import ImageTextModel
from pangu_jax.workloads.multimodal.data import NoPairs
from pangu_jax.workloads.vision.model.plain import PlainConfig

SIZE, LENGTH, IDS = 16, 8, 32
PAIRS = NoPairs(SIZE, 3, LENGTH, CharacterVocabulary([chr(0x4E00 + n) for n in range(IDS - 3)]))
IMAGE = PlainConfig(
    size=SIZE, patch=8, d_model=32, layers=2, heads=4, class_token=False, pooling="mean", unroll=2
)
TEXT = EncoderDecoderConfig(
    vocab_size=IDS, d_model=40, d_ff=64, heads=4, encoder_layers=2, decoder_layers=2, unroll=2
)


def model(**changes) -> ImageTextModel:
    """A tiny model with captions."""
    return ImageTextModel(
        **({"image": IMAGE, "text": TEXT, "data": PAIRS, "width": 24, "caption_weight": 2.0} | changes)
    )


def batch(size: int) -> dict[str, np.ndarray]:
    """`size` pairs, the last of which only fills the batch up."""
    rng = np.random.default_rng(0)
    length_Bx1 = rng.integers(2, LENGTH + 1, (size, 1))
    token_BxT = rng.integers(3, IDS, (size, LENGTH))
    place_T = np.arange(LENGTH)
    tokens_BxT = np.where(place_T < length_Bx1 - 1, token_BxT, np.where(place_T == length_Bx1 - 1, 1, 0))
    weight_B = np.ones(size, np.float32)
    weight_B[-1] = 0
    numbers_B = np.arange(size, dtype=np.int32)
    return {
        "image": rng.integers(0, 256, (size, 1, SIZE, SIZE, 3), dtype=np.uint8),
        "tokens": tokens_BxT.astype(np.int32),
        "picture": numbers_B,
        "text": numbers_B,
        "weight": weight_B,
        "task_id": np.zeros(size, np.int32),
    }
