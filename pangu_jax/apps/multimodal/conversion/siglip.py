"""transformers' SiglipModel: a picture tower pooled by attention, and texts read at their last token.

Its towers give embeddings as they are; the text's head, with its bias, is part of the text tower.
"""

from pangu_jax.apps.multimodal.conversion import layers
from pangu_jax.apps.multimodal.conversion.kind import ModelKind, TowerKind, Towers, sizes
from pangu_jax.apps.multimodal.conversion.layers import TowerSizes
from pangu_jax.runs.exchange.parts import ForeignTensor, tensor


def table(towers: Towers) -> tuple[ForeignTensor, ...]:
    """All tensors of a model."""
    image, text, _ = towers
    wide, read = image.d_model, text.d_model
    pixels = (wide, image.channels, image.patch, image.patch)
    of_image, of_text = TowerSizes(wide, image.heads, image.hidden), TowerSizes(read, text.heads, text.hidden)
    before, after = "vision_model.embeddings.", "text_model.embeddings."
    return (
        tensor("logit_scale", (1,), "join/log_scale"),
        tensor("logit_bias", (1,), "join/bias"),
        tensor(f"{before}patch_embedding.weight", pixels, "image/trunk/patch", order="2310"),
        tensor(f"{before}patch_embedding.bias", (wide,), "image/trunk/patch_bias"),
        tensor(f"{before}position_embedding.weight", (image.units, wide), "image/trunk/positions"),
        *layers.norm("vision_model.post_layernorm", wide, "image/trunk/norm"),
        *layers.attention_pool("vision_model.head.", "image/trunk/pool", of_image),
        *layers.layers("vision_model.encoder.layers.", layers.CLIP, image.layers, "image/main", of_image),
        tensor(f"{after}token_embedding.weight", (text.vocab_size, read), "text/embedding"),
        tensor(f"{after}position_embedding.weight", (text.length, read), "text/positions"),
        *layers.norm("text_model.final_layer_norm", read, "text/norm"),
        tensor("text_model.head.weight", (text.projection, read), "text/head", order="10"),
        tensor("text_model.head.bias", (text.projection,), "text/head_bias"),
        *layers.layers("text_model.encoder.layers.", layers.CLIP, text.layers, "text/layers", of_text),
    )


SIGLIP = ModelKind(
    model_type="siglip",
    name="SiglipModel",
    image=TowerKind(
        "vision",
        sizes(image_size=("size", 224), patch_size=("patch", 16), num_channels=("channels", 3)),
        {
            "class_token": False,
            "pooling": "attention",
            "norm": "tokens",
            "representation": 0,
            "classes": 0,
            "qkv_bias": True,
            "patch_bias": True,
            "first_norm": False,
        },
        {"vision_use_head": True},
        1e-6,
        "gelu_tanh",
    ),
    text=TowerKind(
        "text",
        sizes(vocab_size=("vocab_size", 32000), max_position_embeddings=("length", 64)),
        # Its texts are padded with their end, which is 1, and seen as far as they go.
        {"norm": "before", "pooling": "last", "masked": False, "segments": 0, "padding": 1},
        {"pad_token_id": 1},
        1e-6,
        "gelu_tanh",
    ),
    contrast="siglip",
    projected=(False, False),
    pixels=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    length=64,
    table=table,
)
