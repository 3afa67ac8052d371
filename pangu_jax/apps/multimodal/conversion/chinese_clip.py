"""transformers' ChineseCLIPModel: CLIP's picture tower, and BERT read at its first token.

Names are those of its files, in versions 4 and 5 the same.
"""

from collections.abc import Mapping
from typing import Any

from pangu_jax.apps.multimodal.conversion import entries_of_towers, layers
from pangu_jax.apps.multimodal.conversion.layers import TowerSizes
from pangu_jax.runs.exchange import json_entries
from pangu_jax.runs.exchange.parts import ForeignTensor, TensorPart, tensor
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from pangu_jax.workloads.multimodal.model.two_towers import TwoTowers
from pangu_jax.workloads.vision.model.plain import PlainConfig

MODEL_TYPE, KIND = "chinese_clip", "ChineseCLIPModel"
PIXELS = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
IMAGE_PROCESSOR, PROCESSOR = "ChineseCLIPImageProcessor", "ChineseCLIPProcessor"
TEXTS = {"vocab_size": ("vocab_size", 30522), "max_position_embeddings": ("length", 512)}
SEGMENTS = "type_vocab_size", 2
IMAGE_HAS = {
    "class_token": True,
    "token_position": True,
    "pooling": "token",
    "norm": "pooled",
    "representation": 0,
    "classes": 0,
    "qkv_bias": True,
    "patch_bias": False,
    "first_norm": True,
}
TEXT_HAS = {"norm": "after", "pooling": "first", "masked": True, "padding": 0, "projection": 0}


def towers(theirs: Mapping[str, Any], where: str, mean: Any, deviation: Any) -> TwoTowers:
    """The shape that a config.json says; ValueError or UserError where it is none."""
    of_text = entries_of_towers.part(theirs, "text", where)
    entries_of_towers.require(
        of_text, {"pad_token_id": 0, "position_embedding_type": "absolute", "is_decoder": False}, where
    )
    text: dict[str, Any] = {
        ours: json_entries.size(of_text, name, default, where) for name, (ours, default) in TEXTS.items()
    }
    of_image = entries_of_towers.part(theirs, "vision", where)
    sides = {"image_size": 224, "patch_size": 32, "num_channels": 3}
    image: dict[str, Any] = {
        ours: json_entries.size(of_image, name, sides[name], where)
        for name, ours in entries_of_towers.PICTURES.items()
    }
    gelu = entries_of_towers.gelu(of_image, "quick_gelu", where)
    return TwoTowers(
        image=PlainConfig(
            **image,
            **entries_of_towers.tower(of_image, where),
            **{name: value for name, value in IMAGE_HAS.items() if name not in ("representation", "classes")},
            tanh=gelu == "gelu_tanh",
            quick=gelu == "quick_gelu",
            epsilon=json_entries.epsilon(of_image, "layer_norm_eps", 1e-5, where),
            mean=mean,
            deviation=deviation,
        ),
        text=TextTransformerConfig(
            **text,
            **entries_of_towers.tower(of_text, where),
            **TEXT_HAS,
            segments=json_entries.size(of_text, *SEGMENTS, where),
            activation=entries_of_towers.gelu(of_text, "gelu", where),  # pyrefly: ignore[bad-argument-type]
            epsilon=json_entries.epsilon(of_text, "layer_norm_eps", 1e-12, where),
        ),
        width=json_entries.size(theirs, "projection_dim", 512, where),
    )


def table(config: TwoTowers) -> tuple[ForeignTensor, ...]:
    """All tensors of a model."""
    image, text = config.image, config.text
    wide, read = image.d_model, text.d_model
    pixels = (wide, image.channels, image.patch, image.patch)
    before, after = "vision_model.embeddings.", "text_model.embeddings."
    own = TensorPart("image/trunk/token_position", (...,), (1, wide), range(2), (slice(0, 1),))
    rest = TensorPart("image/trunk/positions", (...,), (image.units, wide), range(2), (slice(1, None),))
    return (
        tensor("logit_scale", (), "join/log_scale"),
        tensor("visual_projection.weight", (config.width, wide), "join/image"),
        tensor("text_projection.weight", (config.width, read), "join/text"),
        tensor(f"{before}class_embedding", (wide,), "image/trunk/token"),
        tensor(f"{before}patch_embedding.weight", pixels, "image/trunk/patch", order="2310"),
        ForeignTensor(f"{before}position_embedding.weight", (1 + image.units, wide), (own, rest)),
        *layers.norm("vision_model.pre_layrnorm", wide, "image/trunk/first_norm"),
        *layers.norm("vision_model.post_layernorm", wide, "image/trunk/norm"),
        *layers.layers(
            "vision_model.encoder.layers.",
            layers.CLIP,
            image.layers,
            "image/main",
            TowerSizes(wide, image.heads, image.hidden),
        ),
        tensor(f"{after}word_embeddings.weight", (text.vocab_size, read), "text/embedding"),
        tensor(f"{after}position_embeddings.weight", (text.length, read), "text/positions"),
        tensor(f"{after}token_type_embeddings.weight", (text.segments, read), "text/segments"),
        *layers.norm(f"{after}LayerNorm", read, "text/norm"),
        *layers.layers(
            "text_model.encoder.layer.",
            layers.BERT,
            text.layers,
            "text/layers",
            TowerSizes(read, text.heads, text.hidden),
        ),
    )


def to_theirs(config: TwoTowers, kept: Mapping[str, Any], where: str) -> dict[str, Any]:
    """config.json of a model.

    Args:
      config: of the model.
      kept: the config.json it was imported with; empty for none.
      where: the run directory, for messages.
    Raises:
      UserError: ChineseCLIPModel has no way to say this.
    """
    entries_of_towers.require_ours(config.image, IMAGE_HAS, "VisionTransformer", KIND, where)
    entries_of_towers.require_ours(config.text, TEXT_HAS, "TextTransformer", KIND, where)
    if not config.text.segments:
        entries_of_towers.require_ours(config.text, {"segments": 2}, "TextTransformer", KIND, where)
    image, text = (entries_of_towers.part(kept, name, where) for name in ("vision", "text"))
    act = "gelu_tanh" if config.image.tanh else "quick_gelu" if config.image.quick else "gelu"
    image |= {
        "model_type": "chinese_clip_vision_model",
        **entries_of_towers.written(config.image),
        **{name: getattr(config.image, ours) for name, ours in entries_of_towers.PICTURES.items()},
        "hidden_act": entries_of_towers.same_gelu(act, image),
    }
    text |= {
        "model_type": "chinese_clip_text_model",
        **entries_of_towers.written(config.text),
        **{name: getattr(config.text, ours) for name, (ours, _) in TEXTS.items()},
        "type_vocab_size": config.text.segments,
        "pad_token_id": 0,
        "hidden_act": entries_of_towers.same_gelu(config.text.activation, text),
    }
    return {
        **{name: value for name, value in kept.items() if not name.endswith("_config_dict")},
        "architectures": [KIND],
        "model_type": MODEL_TYPE,
        "projection_dim": config.width,
        "vision_config": image,
        "text_config": text,
    }
