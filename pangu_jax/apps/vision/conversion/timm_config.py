"""config.json of timm's folders: what it says beside the tensors, and what it is to say of a model of ours.

A folder as hubs have it holds `architecture`, `num_classes`, `global_pool`, `pretrained_cfg` and, where it
differs from the architecture, `model_args`, beside model.safetensors.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pangu_jax.apps.vision.conversion import source, timm
from pangu_jax.apps.vision.conversion.source import Asked, ImportableModel
from pangu_jax.errors import UserError
from pangu_jax.runs.exchange import json_entries
from pangu_jax.runs.exchange.json_entries import entries
from pangu_jax.runs.exchange.tensors import Tensors
from pangu_jax.workloads.vision.model.plain import PlainConfig

CONVERT = (
    "python -c 'import torch; from safetensors.torch import save_file; "
    'save_file(torch.load("{0}"), "model.safetensors")\''
)
# Width and heads by the size in a name, and the names that have others; which SigLIP has GELU by tanh. The
# rest is in the tensors.
HEADS = {
    "tiny": (192, 3),
    "small": (384, 6),
    "base": (768, 12),
    "large": (1024, 16),
    "huge": (1280, 16),
    "giant": (1408, 16),
    "giantopt": (1536, 16),
    "gigantic": (1664, 16),
    "so400m": (1152, 16),
}
OTHER_HEADS = {"vit_base_patch16_gap_224": 16, "test_vit": 2}
TANH = re.compile(
    r"vit_((base_patch32|so400m_patch16|giantopt_patch16)_siglip|large_patch16_siglip(_gap)?_512$)"
)
# Arguments that tensors or other entries tell of, or that change nothing in a forward pass; and those that
# only one value of is known here.
TOLD = {
    "img_size", "patch_size", "in_chans", "num_classes", "global_pool", "embed_dim", "depth", "num_heads",
    "mlp_ratio", "qkv_bias", "class_token", "no_embed_class", "final_norm", "fc_norm", "drop_rate",
    "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate", "weight_init",
    "fix_init", "dynamic_img_size", "dynamic_img_pad",
}  # fmt: skip
KNOWN = {
    "pos_embed": ("learn",),
    "qk_norm": (False,),
    "scale_attn_norm": (False,),
    "scale_mlp_norm": (False,),
    "proj_bias": (True,),
    "init_values": (None,),
    "reg_tokens": (0,),
    "pre_norm": (False,),
    "pool_include_prefix": (False,),
    "norm_layer": (None, "layernorm"),
    "act_layer": (None, "gelu", "gelu_tanh"),
}


def examine(path: Path, asked: Asked) -> ImportableModel:
    """What a folder, or a file of it alone, holds.

    Args:
      path: the folder, or model.safetensors.
      asked: heads, where the name does not say.
    Raises:
      UserError: it cannot be imported.
    """
    tensors = Tensors(path, CONVERT)
    theirs = entries(path / "config.json") if path.is_dir() else {}
    where = f"{path / 'config.json' if theirs else path}"
    arguments, of_weights = (_object(theirs, entry, where) for entry in ("model_args", "pretrained_cfg"))
    name = theirs.get("architecture", "")
    _require_plain(name, arguments, where)
    mean, deviation = source.HALF
    mean = json_entries.numbers(of_weights, "mean", mean, where)
    deviation = json_entries.numbers(of_weights, "std", deviation, where)
    config = timm.shape_of(
        tensors,
        heads=source.heads(tensors, asked.heads, arguments.get("num_heads", _heads(name, tensors))),
        pooling=arguments.get("global_pool", theirs.get("global_pool", "")),
        tanh=arguments.get("act_layer", "gelu_tanh" if TANH.match(name) else "") == "gelu_tanh",
        mean=mean,
        deviation=deviation,
    )
    notes = () if of_weights.get("mean") else ("nothing says how pixels were normalised: by .5 and .5",)
    if theirs.get("num_classes", config.classes) != config.classes:
        raise UserError(
            f"{where}: num_classes is {theirs['num_classes']!r} and the head has {config.classes}; bring "
            "files of one model"
        )
    return ImportableModel(name or "vit", config, timm.table(config), tensors, {"config": theirs}, notes)


def _heads(name: str, tensors: Tensors) -> int | None:
    """What an architecture's name says, where the width is the one it says too."""
    size = re.match(r"(?:vit|deit|flexivit)_([a-z0-9]+?)(?:_|$)", name)
    width, heads = HEADS.get(size[1], (0, 0)) if size else (0, 0)
    found = tensors.shapes.get("patch_embed.proj.bias", ())
    return OTHER_HEADS.get(name) or (heads if found == (width,) else None)


def _object(theirs: Mapping[str, Any], entry: str, where: str) -> dict[str, Any]:
    value = theirs.get(entry) or {}
    if not isinstance(value, dict):
        raise UserError(f"{where}: {entry} is no object; copy the file again")
    return value


def _require_plain(name: Any, arguments: Mapping[str, Any], where: str) -> None:
    if not isinstance(name, str) or (name and not re.match(r"test_vit$|(vit|deit|flexivit)_", name)):
        raise UserError(
            f"{where}: architecture {name!r} is no plain vision transformer: vit_*, deit_* are read"
        )
    for argument, value in arguments.items():
        if argument not in TOLD and value not in KNOWN.get(argument, ()):
            raise UserError(
                f"{where}: model_args has {argument} = {value!r}, which the model here does not have"
            )


def to_theirs(config: PlainConfig, kept: Mapping[str, Any], where: str) -> dict[str, Any]:
    """config.json of a model, with every argument that its architecture may say otherwise.

    Args:
      config: of the model.
      kept: the config.json it was imported with; empty for none.
      where: the run directory, for messages.
    Raises:
      UserError: timm has no way to say this.
    """
    for name, wanted in {"representation": 0, "epsilon": 1e-6, **source.NOT_OF_CLIP}.items():
        if (value := getattr(config, name)) != wanted:
            raise UserError(
                f"{where}: VisionTransformer.{name} is {value!r}, and timm's has {wanted!r}: only such "
                "models can be exported for it"
            )
    pool = next(theirs for theirs, ours in timm.POOLING.items() if ours == config.pooling)
    of_weights = dict(kept.get("pretrained_cfg") or {})
    for name, values in (("mean", config.mean), ("std", config.deviation)):
        of_weights[name] = list(values if len(values) == config.channels else values * config.channels)
    sides = [config.channels, config.size, config.size]
    arguments: dict[str, Any] = {
        "img_size": config.size,
        "patch_size": config.patch,
        "in_chans": config.channels,
        "embed_dim": config.d_model,
        "depth": config.layers,
        "num_heads": config.heads,
        # int(embed_dim * mlp_ratio) there: half a unit more, so that rounding down hits.
        "mlp_ratio": config.hidden / config.d_model
        if int(config.d_model * (config.hidden / config.d_model)) == config.hidden
        else (config.hidden + 0.5) / config.d_model,
        "qkv_bias": config.qkv_bias,
        "class_token": config.class_token,
        "no_embed_class": not (config.class_token and config.token_position),
        "global_pool": pool,
        "final_norm": config.norm != "none",
        "fc_norm": config.norm == "pooled",
        "act_layer": "gelu_tanh" if config.tanh else "gelu",
    }
    before = kept.get("model_args") or {}
    if before.get("img_size") == [config.size, config.size]:
        del arguments["img_size"]
    return {
        "architecture": "vit_base_patch16_224",  # every argument of it is replaced
        **kept,
        "num_classes": config.classes,
        "num_features": config.d_model,
        "global_pool": pool,
        "model_args": before | arguments,
        "pretrained_cfg": of_weights | {"input_size": sides, "num_classes": config.classes},
    }
