"""transformers' ChineseCLIPModel: CLIP's picture tower, and BERT read at its first token.

Names are those of its files, in versions 4 and 5 the same.
"""

from pangu_jax.apps.multimodal.conversion import layers
from pangu_jax.apps.multimodal.conversion.kind import ModelKind, TowerKind, Towers, sizes
from pangu_jax.apps.multimodal.conversion.layers import TowerSizes
from pangu_jax.runs.exchange.parts import ForeignTensor, TensorPart, tensor


def table(towers: Towers) -> tuple[ForeignTensor, ...]:
    """All tensors of a model."""
    image, text, width = towers
    wide, read = image.d_model, text.d_model
    pixels = (wide, image.channels, image.patch, image.patch)
    of_image, of_text = TowerSizes(wide, image.heads, image.hidden), TowerSizes(read, text.heads, text.hidden)
    before, after = "vision_model.embeddings.", "text_model.embeddings."
    own = TensorPart("image/trunk/token_position", (...,), (1, wide), range(2), (slice(0, 1),))
    rest = TensorPart("image/trunk/positions", (...,), (image.units, wide), range(2), (slice(1, None),))
    return (
        tensor("logit_scale", (), "join/log_scale"),
        tensor("visual_projection.weight", (width, wide), "join/image"),
        tensor("text_projection.weight", (width, read), "join/text"),
        tensor(f"{before}class_embedding", (wide,), "image/trunk/token"),
        tensor(f"{before}patch_embedding.weight", pixels, "image/trunk/patch", order="2310"),
        ForeignTensor(f"{before}position_embedding.weight", (1 + image.units, wide), (own, rest)),
        *layers.norm("vision_model.pre_layrnorm", wide, "image/trunk/first_norm"),
        *layers.norm("vision_model.post_layernorm", wide, "image/trunk/norm"),
        *layers.layers("vision_model.encoder.layers.", layers.CLIP, image.layers, "image/main", of_image),
        tensor(f"{after}word_embeddings.weight", (text.vocab_size, read), "text/embedding"),
        tensor(f"{after}position_embeddings.weight", (text.length, read), "text/positions"),
        tensor(f"{after}token_type_embeddings.weight", (text.segments, read), "text/segments"),
        *layers.norm(f"{after}LayerNorm", read, "text/norm"),
        *layers.layers("text_model.encoder.layer.", layers.BERT, text.layers, "text/layers", of_text),
    )


CHINESE_CLIP = ModelKind(
    model_type="chinese_clip",
    name="ChineseCLIPModel",
    image=TowerKind(
        "vision",
        sizes(image_size=("size", 224), patch_size=("patch", 32), num_channels=("channels", 3)),
        {
            "class_token": True,
            "token_position": True,
            "pooling": "token",
            "norm": "pooled",
            "representation": 0,
            "classes": 0,
            "qkv_bias": True,
            "patch_bias": False,
            "first_norm": True,
        },
        {},
        1e-5,
        "quick_gelu",
    ),
    text=TowerKind(
        "text",
        sizes(
            vocab_size=("vocab_size", 30522),
            max_position_embeddings=("length", 512),
            type_vocab_size=("segments", 2),
        ),
        {"norm": "after", "pooling": "first", "masked": True, "padding": 0, "projection": 0},
        {"pad_token_id": 0, "position_embedding_type": "absolute", "is_decoder": False},
        1e-12,
        "gelu",
    ),
    contrast="clip",
    projected=(True, True),
    pixels=((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    length=52,
    table=table,
)
