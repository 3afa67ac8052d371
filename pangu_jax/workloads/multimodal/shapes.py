"""A model of pictures and captions in numbers (`pangu_jax.workloads.shape`)."""

from collections.abc import Collection
from functools import singledispatch
from typing import Any, Literal

from pangu_jax.errors import UserError
from pangu_jax.workloads.language import shapes as of_language
from pangu_jax.workloads.multimodal.model.image_text import ImageTextConfig
from pangu_jax.workloads.multimodal.model.language_tower import LanguageTower
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from pangu_jax.workloads.shape import Attention, End, Product, Shape, Tower
from pangu_jax.workloads.vision import shapes as of_vision
from pangu_jax.workloads.vision.model.plain import PlainConfig
from pangu_jax.workloads.vision.model.trunk import TrunkConfig


def shape_of(
    config: ImageTextConfig, length: int, locked: Collection[str] = (), looks_once: bool = False
) -> Shape:
    """A model in numbers.

    Args:
      config: of both towers and what joins them.
      length: tokens of a caption.
      locked: "image" or "text": state and no parameters.
      looks_once: whether features of pictures are kept, and their tower is no part of a step.
    """
    units, contrast = config.image.units, config.contrast != "none"
    towers, ends = of_vision.of_trunk(config.image, (units,))
    towers = tuple(tower._replace(name=f"image {tower.name}", staged=False) for tower in towers)
    pool, of_pool = _pool(config.image)
    if not contrast:  # what makes embeddings is there, and rests
        pool, of_pool = (), tuple(end._replace(tokens=0) for end in of_pool)
    towers, ends = towers + pool, ends + of_pool
    if "image" in locked:
        towers, ends = _at_rest(towers), _state(ends, "forward")
    if looks_once:
        towers, ends = (), ()
    read, of_text = of_tower(config.text, length, config.queries or units)
    if not contrast:
        read = (_idle(read[0]), *read[1:])
    if "text" in locked:
        # Of a decoder beside pictures gradients go back through all layers: it counts as learning.
        encoders = sum(not tower.memory_tokens for tower in read)
        read = _at_rest(read[:encoders]) + read[encoders:]
        of_text = _state(of_text, "constant")
    towers, ends = (*towers, *read), (*ends, *of_text)
    join: tuple[End, ...] = ()
    if contrast:
        both = zip(("image", "text"), config.widths, config.projected, strict=True)
        join = tuple(
            End(f"{name} projection", own, config.width, 1, "product")
            for name, own, projected in both
            if projected
        )
    wide = config.widths[0]
    if config.queries:
        look = Attention(1, wide, config.queries, units, causal=False, plain=True)
        towers = (*towers, _looking("queries", units, look))
        join += (End("queries", wide, 2 * wide, units, "product"),)
    if memory := config.text.memory_width:
        join += (End("memory", wide, memory, config.queries or units, "product"),)
    return Shape(towers, (*ends, *join), config.width if contrast else 0)


def _at_rest(towers: tuple[Tower, ...]) -> tuple[Tower, ...]:
    """The same without a backward pass."""
    return tuple(tower._replace(learns=False) for tower in towers)


def _state(ends: tuple[End, ...], kind: Literal["constant", "forward"]) -> tuple[End, ...]:
    """The same, whose matrices are no parameters."""
    return tuple(end._replace(kind=kind) if end.kind != "lookup" else end for end in ends)


def _pool(image: TrunkConfig) -> tuple[tuple[Tower, ...], tuple[End, ...]]:
    """What makes one vector of a picture's units: attention by one query, where a trunk has that."""
    if not isinstance(image, PlainConfig) or image.pooling != "attention":
        return (), ()
    width, units = image.d_model, image.units
    look = Attention(image.heads, width // image.heads, 1, units, causal=False, plain=True)
    ends = (
        End("pool query", width, width, 0, "product"),  # one for all pictures
        End("pool", width, 2 * width, units, "product"),
        End("pool out", width, width, 1, "product"),
        End("pool up", width, image.hidden, 1, "product"),
        End("pool down", image.hidden, width, 1, "product"),
    )
    return (_looking("pool", units, look),), ends


def _looking(name: str, units: int, look: Attention) -> Tower:
    """Attention over a picture's units whose weights are ends: no device's part of them is split."""
    return Tower(name, 1, units, look.heads * look.width, (), (look,), 0, staged=False)


def _idle(tower: Tower) -> Tower:
    """The same, which a step does not run."""
    products = tuple(product._replace(tokens=0) for product in tower.products)
    return tower._replace(tokens=0, products=products, attentions=())


@singledispatch
def of_tower(text: Any, length: int, units: int) -> tuple[tuple[Tower, ...], tuple[End, ...]]:
    """Towers and ends of a text side, for texts of so many tokens and pictures of so many units."""
    del length, units
    raise UserError(
        f"no layout can be planned for a text tower {type(text).__name__}: bind Layout.* yourself"
    )


@of_tower.register
def _language(text: LanguageTower, length: int, units: int) -> tuple[tuple[Tower, ...], tuple[End, ...]]:
    """The encoder on the text; the decoder on it and on the picture's units. Captions are too short for the
    kernel of attention that the language family has."""
    captions = of_language.shape_of(text.config, length, length)
    reads, ends = captions.towers, captions.ends
    writes = of_language.shape_of(text.config, units, length).towers[1]
    towers, kept = ((reads[0], writes), ends) if text.writes else ((reads[0],), ends[:1])
    return tuple(_of_captions(tower) for tower in towers), kept


def _of_captions(tower: Tower) -> Tower:
    looks = tuple(look._replace(plain=True) for look in tower.attentions)
    return tower._replace(name=f"text {tower.name}", attentions=looks, staged=False)


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
