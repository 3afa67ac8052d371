"""transformers' SiglipModel: a picture tower pooled by attention, and texts read at their last token.

Its towers give embeddings as they are; the text's head, with its bias, is part of the text tower.
"""

from collections.abc import Mapping
from typing import Any

from pangu_jax.apps.multimodal.conversion import entries_of_towers, layers
from pangu_jax.apps.multimodal.conversion.layers import TowerSizes
from pangu_jax.runs.exchange import json_entries
from pangu_jax.runs.exchange.parts import ForeignTensor, tensor
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from pangu_jax.workloads.multimodal.model.two_towers import TwoTowers
from pangu_jax.workloads.vision.model.plain import PlainConfig

MODEL_TYPE, KIND = "siglip", "SiglipModel"
PIXELS = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
IMAGE_PROCESSOR, PROCESSOR = "SiglipImageProcessor", "SiglipProcessor"
TEXTS = {"vocab_size": ("vocab_size", 32000), "max_position_embeddings": ("length", 64)}
IMAGE_HAS = {
    "class_token": False,
    "pooling": "attention",
    "norm": "tokens",
    "representation": 0,
    "classes": 0,
    "qkv_bias": True,
    "patch_bias": True,
    "first_norm": False,
}
TEXT_HAS = {"norm": "before", "pooling": "last", "masked": False, "segments": 0}
PADDING = 1  # its texts are padded with their end


def towers(theirs: Mapping[str, Any], where: str, mean: Any, deviation: Any) -> TwoTowers:
    """The shape that a config.json says; ValueError or UserError where it is none."""
    of_text = entries_of_towers.part(theirs, "text", where)
    entries_of_towers.require(of_text, {"pad_token_id": PADDING}, where)
    text: dict[str, Any] = {
        ours: json_entries.size(of_text, name, default, where) for name, (ours, default) in TEXTS.items()
    }
    sizes = entries_of_towers.tower(of_text, where)
    width = sizes["d_model"]
    if of_text.get("projection_size") is not None:
        width = json_entries.size(of_text, "projection_size", width, where)
    of_image = entries_of_towers.part(theirs, "vision", where)
    entries_of_towers.require(of_image, {"vision_use_head": True}, where)
    sides = {"image_size": 224, "patch_size": 16, "num_channels": 3}
    image: dict[str, Any] = {
        ours: json_entries.size(of_image, name, sides[name], where)
        for name, ours in entries_of_towers.PICTURES.items()
    }
    gelu = entries_of_towers.gelu(of_image, "gelu_pytorch_tanh", where)
    return TwoTowers(
        image=PlainConfig(
            **image,
            **entries_of_towers.tower(of_image, where),
            **{name: value for name, value in IMAGE_HAS.items() if name not in ("representation", "classes")},
            tanh=gelu == "gelu_tanh",
            quick=gelu == "quick_gelu",
            epsilon=json_entries.epsilon(of_image, "layer_norm_eps", 1e-6, where),
            mean=mean,
            deviation=deviation,
        ),
        text=TextTransformerConfig(
            **text,
            **sizes,
            **TEXT_HAS,
            padding=PADDING,
            projection=width,
            activation=entries_of_towers.gelu(of_text, "gelu_pytorch_tanh", where),  # pyrefly: ignore[bad-argument-type]
            epsilon=json_entries.epsilon(of_text, "layer_norm_eps", 1e-6, where),
        ),
        width=width,
        image_projection=False,
        text_projection=False,
        contrast="siglip",
    )


def table(config: TwoTowers) -> tuple[ForeignTensor, ...]:
    """All tensors of a model."""
    image, text = config.image, config.text
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


def to_theirs(config: TwoTowers, kept: Mapping[str, Any], where: str) -> dict[str, Any]:
    """config.json of a model.

    Args:
      config: of the model.
      kept: the config.json it was imported with; empty for none.
      where: the run directory, for messages.
    Raises:
      UserError: SiglipModel has no way to say this.
    """
    entries_of_towers.require_ours(config.image, IMAGE_HAS, "VisionTransformer", KIND, where)
    has = {**TEXT_HAS, "padding": PADDING, "projection": config.width}
    entries_of_towers.require_ours(config.text, has, "TextTransformer", KIND, where)
    image, text = (entries_of_towers.part(kept, name, where) for name in ("vision", "text"))
    act = "gelu_tanh" if config.image.tanh else "quick_gelu" if config.image.quick else "gelu"
    image |= {
        "model_type": "siglip_vision_model",
        **entries_of_towers.written(config.image),
        **{name: getattr(config.image, ours) for name, ours in entries_of_towers.PICTURES.items()},
        "hidden_act": entries_of_towers.same_gelu(act, image),
        "vision_use_head": True,
    }
    text |= {
        "model_type": "siglip_text_model",
        **entries_of_towers.written(config.text),
        **{name: getattr(config.text, ours) for name, (ours, _) in TEXTS.items()},
        "pad_token_id": PADDING,
        "projection_size": config.text.projection,
        "hidden_act": entries_of_towers.same_gelu(config.text.activation, text),
    }
    return {
        **{name: value for name, value in kept.items() if not name.endswith("_config_dict")},
        "architectures": [KIND],
        "model_type": MODEL_TYPE,
        "vision_config": image,
        "text_config": text,
    }
