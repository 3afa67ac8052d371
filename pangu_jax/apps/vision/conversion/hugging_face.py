"""transformers' ViT: `ViTForImageClassification`, `ViTModel` and `ViTForMaskedImageModeling` (its encoder).

Names are those of its files, in versions 4 and 5 the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pangu_jax.apps.vision.conversion import source, timm
from pangu_jax.apps.vision.conversion.source import Asked, ImportableModel
from pangu_jax.errors import UserError
from pangu_jax.runs.exchange import json_entries
from pangu_jax.runs.exchange.json_entries import entries
from pangu_jax.runs.exchange.parts import ForeignTensor, tensor
from pangu_jax.runs.exchange.tensors import Tensors
from pangu_jax.workloads.vision.model.plain import PlainConfig

CONVERT = (
    'python -c \'from transformers import AutoModel as M; M.from_pretrained("{0}")'
    '.save_pretrained("{0}-safe")\''
)
MODEL_TYPE = "vit"
PREFIX = "vit."
TANH = {"gelu": False, "gelu_new": True, "gelu_pytorch_tanh": True}
SIZES = {
    "hidden_size": "d_model",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "image_size": "size",
    "patch_size": "patch",
    "num_channels": "channels",
}
DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
}


def examine(folder: Path, asked: Asked) -> ImportableModel:
    """What a folder holds.

    Args:
      folder: with config.json and the tensors.
      asked: nothing that config.json does not say.
    Raises:
      UserError: it cannot be imported.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give one with config.json and model.safetensors")
    where, theirs = str(folder / "config.json"), entries(folder / "config.json")
    if (kind := theirs.get("model_type")) != MODEL_TYPE:
        raise UserError(f"{where}: model_type {kind!r} cannot be imported: only {MODEL_TYPE!r} is read")
    tensors = Tensors(folder, CONVERT, unread=_of_masking)
    prefix = PREFIX if f"{PREFIX}embeddings.cls_token" in tensors.shapes else ""
    sizes = {ours: json_entries.size(theirs, name, DEFAULTS[name], where) for name, ours in SIZES.items()}
    hidden = json_entries.size(theirs, "intermediate_size", DEFAULTS["intermediate_size"], where)
    act = theirs.get("hidden_act", "gelu")
    if not isinstance(act, str) or act not in TANH:
        raise UserError(f"{where}: hidden_act {act!r} is not known: one of {', '.join(TANH)} is")
    pooler = tensors.shapes.get(f"{prefix}pooler.dense.weight", (0,))[0]
    if pooler and theirs.get("pooler_act", "tanh") != "tanh":
        raise UserError(f"{where}: pooler_act {theirs['pooler_act']!r} is not known: tanh is")
    epsilon = json_entries.epsilon(theirs, "layer_norm_eps", 1e-12, where)
    mean, deviation, notes = json_entries.pixels(folder, source.HALF)
    del asked
    config = source.config(
        tensors,
        lambda: PlainConfig(
            **sizes,  # pyrefly: ignore[bad-argument-type]
            ratio=hidden / sizes["d_model"],
            representation=pooler,
            classes=tensors.shapes.get("classifier.weight", (0,))[0],
            qkv_bias=theirs.get("qkv_bias", True) is not False,
            tanh=TANH[act],
            epsilon=epsilon,
            mean=mean,
            deviation=deviation,
        ),
    )
    if config.layers > len(tensors.shapes):
        raise UserError(f"{where}: {config.layers} layers, and the files hold {len(tensors.shapes)} tensors")
    notes += source.said(tensors.left_out, "what paints masked patches")
    kept = {"config": theirs, "prefix": prefix}
    return ImportableModel("vit of transformers", config, table(config, prefix), tensors, kept, notes)


def _of_masking(name: str) -> bool:
    return name.startswith("decoder.") or name.endswith("embeddings.mask_token")


def table(config: PlainConfig, prefix: str) -> tuple[ForeignTensor, ...]:
    """All tensors of a model, whose names but the classifier's begin with `prefix`."""
    width, heads, hidden, kv = config.d_model, config.heads, config.hidden, config.d_model // config.heads
    before = f"{prefix}embeddings."
    pixels = (width, config.channels, config.patch, config.patch)
    found = [
        tensor(f"{before}cls_token", (1, 1, width), "trunk/token"),
        timm.positions(config, f"{before}position_embeddings"),
        tensor(f"{before}patch_embeddings.projection.weight", pixels, "trunk/patch", order="2310"),
        tensor(f"{before}patch_embeddings.projection.bias", (width,), "trunk/patch_bias"),
    ]
    for layer in range(config.layers):
        block, ours = f"{prefix}encoder.layer.{layer}.", (layer,)
        for number, part in enumerate(("query", "key", "value")):
            name, where = f"{block}attention.attention.{part}.", (layer, ..., number, slice(None))
            axes = (heads, kv, width)
            found.append(tensor(f"{name}weight", (width, width), "main/attention/qkv", where, axes, "201"))
            if config.qkv_bias:
                axes = (heads, kv)
                found.append(tensor(f"{name}bias", (width,), "main/attention/qkv_bias", where, axes))
        name, axes = f"{block}attention.output.dense.", (width, heads, kv)
        found += [
            tensor(f"{name}weight", (width, width), "main/attention/out", ours, axes),
            tensor(f"{name}bias", (width,), "main/attention/out_bias", ours),
            *timm.norm(f"{block}layernorm_before", width, "main/attention/norm", ours),
            *timm.norm(f"{block}layernorm_after", width, "main/perceptron/norm", ours),
            tensor(
                f"{block}intermediate.dense.weight", (hidden, width), "main/perceptron/up", ours, order="10"
            ),
            tensor(f"{block}intermediate.dense.bias", (hidden,), "main/perceptron/up_bias", ours),
            tensor(f"{block}output.dense.weight", (width, hidden), "main/perceptron/down", ours),
            tensor(f"{block}output.dense.bias", (width,), "main/perceptron/down_bias", ours),
        ]
    found += timm.norm(f"{prefix}layernorm", width, "trunk/norm")
    if config.representation:
        name, size = f"{prefix}pooler.dense.", config.representation
        found.append(tensor(f"{name}weight", (size, width), "trunk/represent", order="10"))
        found.append(tensor(f"{name}bias", (size,), "trunk/represent_bias"))
    if config.classes:
        found.append(tensor("classifier.weight", (config.classes, width), "trunk/head", order="10"))
        found.append(tensor("classifier.bias", (config.classes,), "trunk/head_bias"))
    return tuple(found)


def to_theirs(config: PlainConfig, kept: Mapping[str, Any], where: str) -> dict[str, Any]:
    """config.json of a model.

    Args:
      config: of the model.
      kept: the config.json it was imported with; empty for none.
      where: the run directory, for messages.
    Raises:
      UserError: transformers' ViT has no way to say this.
    """
    wanted: dict[str, Any] = {
        "class_token": True,
        "token_position": True,
        "pooling": "token",
        "norm": "tokens",
        **source.NOT_OF_CLIP,
    }
    if config.classes:
        wanted["representation"] = 0
    for name, value in wanted.items():
        if (found := getattr(config, name)) != value:
            raise UserError(
                f"{where}: VisionTransformer.{name} is {found!r}, and the ViT of transformers has {value!r}: "
                "only such models can be exported for it; --format timm or big_vision may do"
            )
    act = kept.get("hidden_act", "")
    if TANH.get(act) != config.tanh:
        act = "gelu_pytorch_tanh" if config.tanh else "gelu"
    labels: dict[str, Any] = {}
    if len(kept.get("id2label") or {}) != config.classes and config.classes:
        names = {str(number): f"LABEL_{number}" for number in range(config.classes)}
        labels = {"id2label": names, "label2id": {name: int(number) for number, name in names.items()}}
    return {
        **kept,
        **{theirs: getattr(config, ours) for theirs, ours in SIZES.items()},
        **labels,
        "architectures": ["ViTForImageClassification" if config.classes else "ViTModel"],
        "model_type": MODEL_TYPE,
        "intermediate_size": config.hidden,
        "hidden_act": act,
        "layer_norm_eps": config.epsilon,
        "qkv_bias": config.qkv_bias,
        "pooler_output_size": config.representation or config.d_model,
    }


def preprocessor(config: PlainConfig) -> dict[str, Any]:
    """preprocessor_config.json of a model."""
    each = lambda values: list(values if len(values) == config.channels else values * config.channels)  # noqa: E731
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": each(config.mean),
        "image_std": each(config.deviation),
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": config.size, "width": config.size},
    }
