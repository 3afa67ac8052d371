"""big_vision's ViT (models/vit.py), and its ancestor vision_transformer's, both in .npz.

Arrays are named by path and have Flax's order, inputs first. Layers are one after the other
(`encoderblock_0`) or stacked (`encoderblock`, where big_vision ran with scan). Before all of them may stand
"params/", "opt/target/", or "params/img/" of a two-tower model, whose text tower is left out.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pangu_jax.apps.vision.conversion import source, timm
from pangu_jax.apps.vision.conversion.source import Asked, ImportableModel
from pangu_jax.errors import UserError
from pangu_jax.runs.exchange.parts import ForeignTensor, Index, Shape, tensor
from pangu_jax.runs.exchange.tensors import Tensors
from pangu_jax.workloads.vision.model.plain import PlainConfig

PREFIXES = ("params/img/", "params/", "opt/target/", "")
POSITIONS, OLD_POSITIONS = "pos_embedding", "Transformer/posembed_input/pos_embedding"
# Names of a layer's attention, of its second norm and of its perceptron.
MODULES = "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"
OLD_MODULES = "MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3"


class Naming(NamedTuple):
    """What differs between files of one model.

    Attributes:
      prefix: before every name.
      stacked: whether layers are stacked in one array.
      old: whether modules have vision_transformer's numbers.
      old_positions: whether positions are where it has them.
      fixed: whether positions are by a formula, and in no file.
    """

    prefix: str = "params/"
    stacked: bool = False
    old: bool = False
    old_positions: bool = False
    fixed: bool = False

    @property
    def modules(self) -> tuple[str, str, str]:
        """Names of a layer's attention, second norm and perceptron."""
        return OLD_MODULES if self.old else MODULES

    @property
    def positions(self) -> str:
        """Name of the positions."""
        return f"{self.prefix}{OLD_POSITIONS if self.old_positions else POSITIONS}"


def examine(file: Path, asked: Asked) -> ImportableModel:
    """What a file holds.

    Args:
      file: .npz.
      asked: a size where positions are by a formula; of heads the arrays tell.
    Raises:
      UserError: it cannot be imported.
    """
    if not file.is_file() or file.suffix != ".npz":
        raise UserError(f"{file} is no .npz file; give the one that big_vision saved")
    names = Tensors(file, "", unread=lambda name: True).left_out
    prefix = next((each for each in PREFIXES if f"{each}embedding/kernel" in names), None)
    if prefix is None:
        raise UserError(f"{file} has no embedding/kernel: it is no vision transformer of big_vision")
    # Of a two-tower model and of an optimizer's state the rest is no part of the pictures' tower.
    tensors = Tensors(
        file, "", unread=lambda name: not name.startswith(prefix) or name.startswith("opt/state")
    )
    blocks, found = f"{prefix}Transformer/encoderblock", tensors.shapes
    naming = Naming(
        prefix,
        stacked=f"{blocks}/LayerNorm_0/scale" in found,
        old=any(name.startswith(blocks) and "/MultiHeadDotProductAttention_1/" in name for name in found),
        old_positions=f"{prefix}{OLD_POSITIONS}" in found,
        fixed=f"{prefix}{POSITIONS}" not in found and f"{prefix}{OLD_POSITIONS}" not in found,
    )
    config = _shape_of(tensors, naming, asked.size)
    notes, tables = source.said(tensors.left_out, f"what is not under {prefix or 'the model'}"), {}
    if naming.fixed:
        tables = {"trunk/positions": sine_positions(config.grid, config.d_model)}
        notes += ("positions are sines by a formula there; here they are learnt from that on",)
    kept = {"naming": naming._asdict()}
    return ImportableModel("vit of big_vision", config, table(config, naming), tensors, kept, notes, tables)


def _shape_of(tensors: Tensors, naming: Naming, size: int | None) -> PlainConfig:
    prefix, found = naming.prefix, tensors.shapes
    patch, _, channels, width = source.shape(tensors, f"{prefix}embedding/kernel", 4)
    more = int(naming.stacked)
    block = f"{prefix}Transformer/encoderblock{'' if naming.stacked else '_0'}/"
    attention, _, mlp = naming.modules
    heads = source.shape(tensors, f"{block}{attention}/query/kernel", 3 + more)[-2]
    hidden = source.shape(tensors, f"{block}{mlp}/Dense_0/kernel", 2 + more)[-1]
    if naming.stacked:
        layers = source.shape(tensors, f"{block}LayerNorm_0/scale", 2)[0]
    else:
        layers = source.count(tensors, f"{re.escape(prefix)}Transformer/encoderblock_(\\d+)/")
    token, beside = f"{prefix}cls" in found, 0
    if naming.fixed:
        if not size:
            raise UserError(
                f"{tensors.folder} holds no positions, which are by a formula then, and nothing says the "
                "size of pictures: give it with --size"
            )
        grid = size // patch
    else:
        places = source.shape(tensors, naming.positions, 3)[1]
        grid, beside = source.side(tensors, naming.positions, places, int(token))
    return source.config(
        tensors,
        lambda: PlainConfig(
            size=grid * patch,
            patch=patch,
            channels=channels,
            d_model=width,
            layers=layers,
            heads=heads,
            ratio=hidden / width,
            class_token=token,
            token_position=bool(beside),
            pooling="attention" if f"{prefix}MAPHead_0/probe" in found else "token" if token else "mean",
            representation=found.get(f"{prefix}pre_logits/bias", (0,))[0],
            classes=found.get(f"{prefix}head/bias", (0,))[0],
            tanh=True,
            mean=source.HALF[0],
            deviation=source.HALF[1],
        ),
    )


def table(config: PlainConfig, naming: Naming) -> tuple[ForeignTensor, ...]:
    """All arrays of a model."""
    prefix, width = naming.prefix, config.d_model
    found = [
        tensor(
            f"{prefix}embedding/kernel",
            (config.patch, config.patch, config.channels, width),
            "trunk/patch",
        ),
        tensor(f"{prefix}embedding/bias", (width,), "trunk/patch_bias"),
    ]
    if not naming.fixed:
        found.append(timm.positions(config, naming.positions))
    if config.class_token:
        found.append(tensor(f"{prefix}cls", (1, 1, width), "trunk/token"))
    for number in range(1 if naming.stacked else config.layers):
        place = ArrayPlace(f"{prefix}Transformer/encoderblock_{number}/", (number,))
        if naming.stacked:
            place = ArrayPlace(f"{prefix}Transformer/encoderblock/", (), config.layers)
        found += _layer(config, naming, place)
    found += _norm(ArrayPlace(f"{prefix}Transformer/"), "encoder_norm", width, "trunk/norm")
    if config.pooling == "attention":
        found += _attention_pool(config, ArrayPlace(f"{prefix}MAPHead_0/"))
    last = config.representation or width
    if config.representation:
        found.append(tensor(f"{prefix}pre_logits/kernel", (width, last), "trunk/represent"))
        found.append(tensor(f"{prefix}pre_logits/bias", (last,), "trunk/represent_bias"))
    if config.classes:
        found.append(tensor(f"{prefix}head/kernel", (last, config.classes), "trunk/head"))
        found.append(tensor(f"{prefix}head/bias", (config.classes,), "trunk/head_bias"))
    return tuple(found)


class ArrayPlace(NamedTuple):
    """Where arrays are.

    Attributes:
      prefix: of their names.
      ours: before any index into ours.
      layers: how many they stack; 0 for arrays of one.
    """

    prefix: str
    ours: Index = ()
    layers: int = 0

    def tensor(
        self, name: str, shape: Shape, path: str, inner: Index = (...,), order: str = ""
    ) -> ForeignTensor:
        """One array of theirs; `shape`, `inner` and `order` are those of one layer."""
        if self.layers:
            shape = (self.layers, *shape)
            order = order and "0" + "".join(str(int(digit) + 1) for digit in order)
        return tensor(f"{self.prefix}{name}", shape, path, (*self.ours, *inner), order=order)


def _layer(config: PlainConfig, naming: Naming, place: ArrayPlace) -> list[ForeignTensor]:
    width, heads, kv = config.d_model, config.heads, config.d_model // config.heads
    attention, second, mlp = naming.modules
    found = _norm(place, "LayerNorm_0", width, "main/attention/norm")
    for number, part in enumerate(("query", "key", "value")):
        inner, name = (..., number, slice(None)), f"{attention}/{part}"
        found.append(place.tensor(f"{name}/kernel", (width, heads, kv), "main/attention/qkv", inner))
        found.append(place.tensor(f"{name}/bias", (heads, kv), "main/attention/qkv_bias", inner))
    return [
        *found,
        place.tensor(f"{attention}/out/kernel", (heads, kv, width), "main/attention/out", order="201"),
        place.tensor(f"{attention}/out/bias", (width,), "main/attention/out_bias"),
        *_norm(place, second, width, "main/perceptron/norm"),
        *_perceptron(place, mlp, config, "main/perceptron"),
    ]


def _attention_pool(config: PlainConfig, place: ArrayPlace) -> list[ForeignTensor]:
    width, heads, kv = config.d_model, config.heads, config.d_model // config.heads
    attention, path = "MultiHeadDotProductAttention_0", "trunk/pool"
    found = [
        place.tensor("probe", (1, 1, width), f"{path}/probe"),
        place.tensor(f"{attention}/query/kernel", (width, heads, kv), f"{path}/query"),
        place.tensor(f"{attention}/query/bias", (heads, kv), f"{path}/query_bias"),
    ]
    for number, part in enumerate(("key", "value")):
        inner, name = (..., number, slice(None)), f"{attention}/{part}"
        found.append(place.tensor(f"{name}/kernel", (width, heads, kv), f"{path}/key_value", inner))
        found.append(place.tensor(f"{name}/bias", (heads, kv), f"{path}/key_value_bias", inner))
    return [
        *found,
        place.tensor(f"{attention}/out/kernel", (heads, kv, width), f"{path}/out", order="201"),
        place.tensor(f"{attention}/out/bias", (width,), f"{path}/out_bias"),
        *_norm(place, "LayerNorm_0", width, f"{path}/norm"),
        *_perceptron(place, "MlpBlock_0", config, path),
    ]


def _norm(place: ArrayPlace, name: str, width: int, path: str) -> list[ForeignTensor]:
    return [place.tensor(f"{name}/{part}", (width,), f"{path}/{part}") for part in ("scale", "bias")]


def _perceptron(place: ArrayPlace, name: str, config: PlainConfig, path: str) -> list[ForeignTensor]:
    width, hidden = config.d_model, config.hidden
    return [
        place.tensor(f"{name}/Dense_0/kernel", (width, hidden), f"{path}/up"),
        place.tensor(f"{name}/Dense_0/bias", (hidden,), f"{path}/up_bias"),
        place.tensor(f"{name}/Dense_1/kernel", (hidden, width), f"{path}/down", order="10"),
        place.tensor(f"{name}/Dense_1/bias", (width,), f"{path}/down_bias"),
    ]


def sine_positions(grid: int, width: int) -> np.ndarray:
    """What big_vision's "sincos2d" adds, fp32 [grid * grid, width]: MoCo v3's, whose last frequency is the
    temperature itself, columns before rows."""
    frequencies = 1.0 / 10_000 ** (np.arange(width // 4) / (width // 4 - 1))
    row, column = np.divmod(np.arange(grid * grid), grid)
    angles = [place[:, None] * frequencies for place in (column, row)]
    found = [part for angle in angles for part in (np.sin(angle), np.cos(angle))]
    return np.concatenate(found, axis=1).astype(np.float32)


def require_expressible(config: PlainConfig, where: str) -> None:
    """UserError where big_vision's ViT cannot be what a model is."""
    wanted = {
        "norm": "tokens",
        "tanh": True,
        "epsilon": 1e-6,
        "qkv_bias": True,
        "class_token": config.pooling == "token",
        **source.NOT_OF_CLIP,
    }
    for name, value in wanted.items():
        if (found := getattr(config, name)) != value:
            raise UserError(
                f"{where}: VisionTransformer.{name} is {found!r}, and big_vision's has {value!r}: only such "
                "models can be exported for it; --format timm may do"
            )
