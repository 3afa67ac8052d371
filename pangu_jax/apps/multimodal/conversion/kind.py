"""The two models of transformers that are read and written, each described once for both directions."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pangu_jax.runs.exchange.parts import ForeignTensor
from pangu_jax.workloads.multimodal.model.image_text import Contrast
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from pangu_jax.workloads.vision.model.plain import PlainConfig


class Towers(NamedTuple):
    """Shape of a model that is both ours and theirs.

    Attributes:
      image: of the picture tower.
      text: of the text tower.
      width: of embeddings.
    """

    image: PlainConfig
    text: TextTransformerConfig
    width: int


class TowerKind(NamedTuple):
    """A tower of every model of a kind.

    Attributes:
      name: of its entries in config.json, before "_config".
      sizes: entry -> our name and the entry's default.
      has: what all of them have, by our names.
      fixed: entries that have one value, where they are there.
      epsilon: default of the norms'.
      activation: default of the perceptrons', by our names.
    """

    name: str
    sizes: Mapping[str, tuple[str, int]]
    has: Mapping[str, Any]
    fixed: Mapping[str, Any]
    epsilon: float
    activation: str


class ModelKind(NamedTuple):
    """A class of transformers.

    Attributes:
      model_type: in config.json.
      name: of the class.
      image: of its picture tower.
      text: of its text tower.
      contrast: the loss that its scale, and its bias if it has one, are for.
      projected: whether pictures and texts are projected.
      pixels: mean and deviation where nothing says otherwise.
      length: of a caption in tokens, as it was trained.
      table: of its tensors.
    """

    model_type: str
    name: str
    image: TowerKind
    text: TowerKind
    contrast: Contrast
    projected: tuple[bool, bool]
    pixels: tuple[tuple[float, ...], tuple[float, ...]]
    length: int
    table: Callable[[Towers], tuple[ForeignTensor, ...]]


def sizes(**own: tuple[str, int]) -> dict[str, tuple[str, int]]:
    """Of a tower: those that all have, and its own."""
    return {
        "hidden_size": ("d_model", 768),
        "num_hidden_layers": ("layers", 12),
        "num_attention_heads": ("heads", 12),
        **own,
    }
