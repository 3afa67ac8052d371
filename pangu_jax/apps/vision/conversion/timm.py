"""timm's `VisionTransformer`, and what is written like it: DeiT, MAE.

Names and shapes are those of timm/models/vision_transformer.py, 1.0.
"""

from typing import Any

from pangu_jax.apps.vision.conversion import source
from pangu_jax.errors import UserError
from pangu_jax.runs.exchange.parts import ALL, ForeignTensor, Index, TensorPart, tensor
from pangu_jax.runs.exchange.tensors import Tensors
from pangu_jax.workloads.vision.model.plain import PlainConfig

POSITIONS = "pos_embed"
POOLING = {"token": "token", "avg": "mean", "map": "attention"}


def shape_of(
    tensors: Tensors,
    heads: int,
    pooling: Any,
    tanh: bool,
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
) -> PlainConfig:
    """The configuration that tensors describe, with what they do not tell.

    Args:
      tensors: of the model.
      heads: of attention.
      pooling: timm's `global_pool`; "" where nothing says.
      tanh: see PlainConfig.
      mean: see PlainConfig.
      deviation: see PlainConfig.
    Raises:
      UserError: they describe none.
    """
    found = tensors.shapes
    width, channels, patch, _ = source.shape(tensors, "patch_embed.proj.weight", 4)
    hidden, _ = source.shape(tensors, "blocks.0.mlp.fc1.weight", 2)
    token = "cls_token" in found
    places = source.shape(tensors, POSITIONS, 3)[1]
    grid, more = source.side(tensors, POSITIONS, places, int(token))
    if not pooling:
        pooling = (
            "map" if "attn_pool.latent" in found else "token" if token and "norm.weight" in found else "avg"
        )
    if not isinstance(pooling, str) or pooling not in POOLING:
        raise UserError(
            f"{tensors.folder}: global_pool {pooling!r} is not known: one of {', '.join(POOLING)} is"
        )
    return source.config(
        tensors,
        lambda: PlainConfig(
            size=grid * patch,
            patch=patch,
            channels=channels,
            d_model=width,
            layers=source.count(tensors, r"blocks\.(\d+)\."),
            heads=heads,
            ratio=hidden / width,
            class_token=token,
            token_position=bool(more),
            pooling=POOLING[pooling],  # pyrefly: ignore[bad-argument-type]
            norm="tokens" if "norm.weight" in found else "pooled" if "fc_norm.weight" in found else "none",
            classes=found["head.weight"][0] if "head.weight" in found else 0,
            qkv_bias="blocks.0.attn.qkv.bias" in found,
            tanh=tanh,
            mean=mean,
            deviation=deviation,
        ),
    )


def table(config: PlainConfig) -> tuple[ForeignTensor, ...]:
    """All tensors of a model."""
    width, heads, hidden = config.d_model, config.heads, config.hidden
    pixels = (width, config.channels, config.patch, config.patch)
    found = [
        tensor("patch_embed.proj.weight", pixels, "trunk/patch", order="2310"),
        tensor("patch_embed.proj.bias", (width,), "trunk/patch_bias"),
        positions(config, POSITIONS),
    ]
    if config.class_token:
        found.append(tensor("cls_token", (1, 1, width), "trunk/token"))
    for number in range(config.layers):
        found += layer(f"blocks.{number}.", (number,), width, heads, hidden, config.qkv_bias)
    if config.norm != "none":
        found += norm("norm" if config.norm == "tokens" else "fc_norm", width, "trunk/norm")
    if config.pooling == "attention":
        found += _attention_pool(config)
    if config.classes:
        found.append(tensor("head.weight", (config.classes, width), "trunk/head", order="10"))
        found.append(tensor("head.bias", (config.classes,), "trunk/head_bias"))
    return tuple(found)


def layer(
    name: str, ours: Index, width: int, heads: int, hidden: int, biased: bool = True
) -> list[ForeignTensor]:
    """timm's Block.

    Args:
      name: what its names begin with.
      ours: which layer of our arrays.
      width: of a token.
      heads: of attention.
      hidden: of the perceptron.
      biased: whether queries, keys and values have a bias.
    """
    kv, path = width // heads, "main/attention"
    found = [
        *norm(f"{name}norm1", width, f"{path}/norm", ours),
        tensor(
            f"{name}attn.qkv.weight", (3 * width, width), f"{path}/qkv", ours, (3, heads, kv, width), "3102"
        ),
        tensor(f"{name}attn.proj.weight", (width, width), f"{path}/out", ours, (width, heads, kv)),
        tensor(f"{name}attn.proj.bias", (width,), f"{path}/out_bias", ours),
        *norm(f"{name}norm2", width, "main/perceptron/norm", ours),
        *perceptron(f"{name}mlp.", width, hidden, "main/perceptron", ours),
    ]
    if biased:
        axes = (3, heads, kv)
        found.append(tensor(f"{name}attn.qkv.bias", (3 * width,), f"{path}/qkv_bias", ours, axes, "102"))
    return found


def _attention_pool(config: PlainConfig) -> list[ForeignTensor]:
    width, heads, kv = config.d_model, config.heads, config.d_model // config.heads
    by_head = (2, heads, kv)
    return [
        tensor("attn_pool.latent", (1, 1, width), "trunk/pool/probe"),
        tensor(
            "attn_pool.q.weight", (width, width), "trunk/pool/query", axes=(heads, kv, width), order="201"
        ),
        tensor("attn_pool.q.bias", (width,), "trunk/pool/query_bias"),
        tensor(
            "attn_pool.kv.weight",
            (2 * width, width),
            "trunk/pool/key_value",
            axes=(*by_head, width),
            order="3102",
        ),
        tensor("attn_pool.kv.bias", (2 * width,), "trunk/pool/key_value_bias", axes=by_head, order="102"),
        tensor("attn_pool.proj.weight", (width, width), "trunk/pool/out"),
        tensor("attn_pool.proj.bias", (width,), "trunk/pool/out_bias"),
        *norm("attn_pool.norm", width, "trunk/pool/norm"),
        *perceptron("attn_pool.mlp.", width, config.hidden, "trunk/pool"),
    ]


def norm(name: str, width: int, path: str, ours: Index = ALL) -> list[ForeignTensor]:
    """A LayerNorm of torch."""
    return [
        tensor(f"{name}.weight", (width,), f"{path}/scale", ours),
        tensor(f"{name}.bias", (width,), f"{path}/bias", ours),
    ]


def perceptron(name: str, width: int, hidden: int, path: str, ours: Index = ALL) -> list[ForeignTensor]:
    """timm's Mlp."""
    return [
        tensor(f"{name}fc1.weight", (hidden, width), f"{path}/up", ours, order="10"),
        tensor(f"{name}fc1.bias", (hidden,), f"{path}/up_bias", ours),
        tensor(f"{name}fc2.weight", (width, hidden), f"{path}/down", ours),
        tensor(f"{name}fc2.bias", (width,), f"{path}/down_bias", ours),
    ]


def positions(config: PlainConfig, name: str) -> ForeignTensor:
    """[1, places, width]; that of the class token first, where it has one."""
    width, more = config.d_model, int(config.class_token and config.token_position)
    own = TensorPart("trunk/token_position", (...,), (1, 1, width), range(3), (slice(None), slice(0, 1)))
    rest = (slice(None), slice(more, None))
    of_units = TensorPart("trunk/positions", (...,), (1, config.units, width), range(3), rest)
    return ForeignTensor(name, (1, config.units + more, width), (own, of_units) if more else (of_units,))
