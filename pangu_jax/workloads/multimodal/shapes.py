"""A model of pictures and captions in numbers (`pangu_jax.workloads.shape`)."""

from functools import singledispatch
from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.workloads.language import shapes as of_language
from pangu_jax.workloads.multimodal.model.image_text import ImageTextConfig
from pangu_jax.workloads.multimodal.model.language_tower import LanguageTower
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from pangu_jax.workloads.shape import Attention, End, Product, Shape, Tower
from pangu_jax.workloads.vision import shapes as of_vision


def shape_of(config: ImageTextConfig, length: int) -> Shape:
    """For captions of so many tokens."""
    units = config.image.units
    seen, ends = of_vision.of_trunk(config.image, (units,))
    read, of_text = of_tower(config.text, length, config.queries or units)
    towers = tuple(tower._replace(name=f"image {tower.name}", staged=False) for tower in seen) + read
    join: tuple[End, ...] = ()
    if config.contrast != "none":
        both = zip(("image", "text"), config.widths, config.projected, strict=True)
        join = tuple(
            End(f"{name} projection", own, config.width, 1, "product")
            for name, own, projected in both
            if projected
        )
    wide = config.widths[0]
    if config.queries:
        join += (End("queries", wide, 2 * wide, units, "product"),)
    if memory := config.text.memory_width:
        join += (End("memory", wide, memory, config.queries or units, "product"),)
    return Shape(towers, (*ends, *of_text, *join), config.width if config.contrast != "none" else 0)


@singledispatch
def of_tower(text: Any, length: int, units: int) -> tuple[tuple[Tower, ...], tuple[End, ...]]:
    """Towers and ends of a text side, for texts of so many tokens and pictures of so many units."""
    del length, units
    raise UserError(
        f"no layout can be planned for a text tower {type(text).__name__}: bind Layout.* yourself"
    )


@of_tower.register
def _language(text: LanguageTower, length: int, units: int) -> tuple[tuple[Tower, ...], tuple[End, ...]]:
    """The encoder on the text; the decoder on it and on the picture's units."""
    reads, ends, _ = of_language.shape_of(text.config, length, length)
    writes = of_language.shape_of(text.config, units, length).towers[1]
    towers, kept = ((reads[0], writes), ends) if text.writes else ((reads[0],), ends[:1])
    return tuple(tower._replace(name=f"text {tower.name}", staged=False) for tower in towers), kept


@of_tower.register
def _transformer(
    text: TextTransformerConfig, length: int, units: int
) -> tuple[tuple[Tower, ...], tuple[End, ...]]:
    """It reads, and writes nothing."""
    del units
    width = text.d_model
    products = (
        Product(width, 3 * width, length, "columns", saved=True),
        Product(width, width, length, "rows", saved=False),
        Product(width, text.hidden, length, "columns", saved=True),
        Product(text.hidden, width, length, "rows", saved=False),
    )
    looks = (Attention(text.heads, width // text.heads, length, length, causal=False, plain=True),)
    tower = Tower("text", text.layers, length, width, products, looks, 2, staged=False)
    ends = (End("text embedding", text.vocab_size, width, length, "lookup", "rows"),)
    if text.projection:
        ends += (End("text head", width, text.projection, 1, "product"),)
    return (tower,), ends
