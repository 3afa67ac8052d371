""".pth files of pre-training: MAE's ViT, and HiViT.

They are what torch.save made of {"model": tensors by name}, and say neither the number of heads nor how
pixels were normalised: heads of 64, and ImageNet's mean and deviation, are those that both papers have. What
paints masked pixels has no place in a trunk, and is left out.
"""

import re
from pathlib import Path

from pangu_jax.apps.vision.conversion import source, timm
from pangu_jax.apps.vision.conversion.source import Asked, ImportableModel
from pangu_jax.errors import UserError
from pangu_jax.runs.exchange.parts import ForeignTensor, tensor
from pangu_jax.runs.exchange.tensors import Tensors
from pangu_jax.workloads.vision.model.hierarchical import INNER, HierarchicalConfig

CONVERT = (
    'python -c \'import torch; torch.save({{"model": torch.load("{0}", weights_only=False)["model"]}}, '
    '"{0}.safe.pth")\''
)
INSIDE = "model"
SUFFIXES = (".pth", ".pt", ".bin")
PAINTER = re.compile(r"decoder_|mask_token$")
BIAS = "relative_position"
HEAD_WIDTH = 64
OTHER_HEADS = {1280: 16, 1408: 16, 1664: 16}  # of ViT-H, g and G


def examine(file: Path, asked: Asked) -> ImportableModel:
    """What a file holds.

    Args:
      file: of torch.save.
      asked: heads, where they are not of 64.
    Raises:
      UserError: it cannot be imported.
    """
    if not file.is_file() or file.suffix not in SUFFIXES:
        raise UserError(f"{file} is no file of torch: give a .pth")
    names = Tensors(file, CONVERT, INSIDE, unread=lambda name: True).left_out
    if any(name.endswith("reduction.weight") for name in names):
        return _hierarchical(file, asked)
    tensors = Tensors(file, CONVERT, INSIDE, unread=lambda name: bool(PAINTER.match(name)))
    mean, deviation = source.IMAGENET
    config = timm.shape_of(
        tensors, _heads(tensors, asked, "patch_embed.proj.weight"), "", False, mean, deviation
    )
    notes = source.said(tensors.left_out, "what paints masked pixels")
    return ImportableModel("vit of MAE", config, timm.table(config), tensors, {}, notes)


def _heads(tensors: Tensors, asked: Asked, name: str, widening: int = 1) -> int:
    width = source.shape(tensors, name, 4)[0] * widening
    known = OTHER_HEADS.get(width) or (width // HEAD_WIDTH if width % HEAD_WIDTH == 0 else None)
    return source.heads(tensors, asked.heads, known)


def _hierarchical(file: Path, asked: Asked) -> ImportableModel:
    # `norm` is before the painter; `fc_norm` and `head` are behind a trunk.
    unread = re.compile(r"decoder_|mask_token$|norm\.|fc_norm\.|head\.")
    tensors = Tensors(file, CONVERT, INSIDE, unread=lambda name: bool(unread.match(name)) or BIAS in name)
    biases = [name for name in tensors.left_out if BIAS in name]
    if biases:
        raise UserError(
            f"{file} has {biases[0]}: attention has a relative bias there, and none in "
            "HierarchicalTransformer; give a checkpoint of masked pre-training, which has none"
        )
    config = _shape_of(tensors, asked)
    notes = source.said(tensors.left_out, "what paints masked pixels, and heads")
    notes += ("ImageNet's mean and deviation of pixels are made part of the stem",)
    return ImportableModel("hivit", config, table(config), tensors, {}, notes, pixels=source.IMAGENET)


def _shape_of(tensors: Tensors, asked: Asked) -> HierarchicalConfig:
    first, channels, patch, _ = source.shape(tensors, "patch_embed.proj.weight", 4)
    merges = sorted(
        int(hit[1])
        for name in tensors.shapes
        if (hit := re.fullmatch(r"blocks\.(\d+)\.reduction\.weight", name))
    )
    blocks = source.count(tensors, r"blocks\.(\d+)\.")
    if len(merges) != 2 or merges[0] % 2 or (merges[1] - merges[0] - 1) % 2:
        raise UserError(
            f"{tensors.folder}: it merges tokens after blocks {merges}, and HiViT twice, after pairs"
        )
    places = source.shape(tensors, "absolute_pos_embed", 3)[1]
    grid, _ = source.side(tensors, "absolute_pos_embed", places, 0)
    stem = source.shape(tensors, "blocks.0.mlp.fc1.weight", 2)[0]
    hidden = source.shape(tensors, f"blocks.{blocks - 1}.mlp.fc1.weight", 2)[0]
    return source.config(
        tensors,
        lambda: HierarchicalConfig(
            size=grid * patch * INNER,
            unit=patch * INNER,
            channels=channels,
            d_model=4 * first,
            depths=(merges[0] // 2, (merges[1] - merges[0] - 1) // 2, blocks - merges[1] - 1),
            heads=_heads(tensors, asked, "patch_embed.proj.weight", 4),
            stem_ratio=stem / first,
            ratio=hidden / (4 * first),
            learned_positions=True,
        ),
    )


def table(config: HierarchicalConfig) -> tuple[ForeignTensor, ...]:
    """All tensors of HiViT's trunk."""
    first, second, main = config.widths
    hidden = int(config.ratio * main)
    pixels = (first, config.channels, config.patch, config.patch)
    found = [
        tensor("patch_embed.proj.weight", pixels, "trunk/stem", order="2310"),
        tensor("patch_embed.proj.bias", (first,), "trunk/stem_bias"),
        *timm.norm("patch_embed.norm", first, "trunk/stem_norm"),
        tensor("absolute_pos_embed", (1, config.units, main), "trunk/positions"),
    ]
    block = 0
    for path, width, depth in zip(("first", "second"), (first, second), config.depths, strict=False):
        for layer in range(2 * depth):
            name, ours = f"blocks.{block}.", (layer,)
            found += timm.norm(f"{name}norm2", width, f"trunk/{path}/norm", ours)
            stem = int(config.stem_ratio * width)
            found += timm.perceptron(f"{name}mlp.", width, stem, f"trunk/{path}", ours)
            block += 1
        merge = f"blocks.{block}."
        found += timm.norm(f"{merge}norm", 4 * width, f"trunk/{path}_merge/norm")
        shape = (2 * width, 4 * width)
        found.append(tensor(f"{merge}reduction.weight", shape, f"trunk/{path}_merge/kernel", order="10"))
        block += 1
    for layer in range(config.layers):
        found += timm.layer(f"blocks.{block + layer}.", (layer,), main, config.heads, hidden)
    return tuple(found)
