"""The FLOPs that a model needs for a step, whatever a program spends: the numerator of MFU."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Products:
    """Weights that multiply tokens.

    Attributes:
      parameters: of weight matrices; an embedding that is looked up is none, one that gives logits is.
      tokens: that pass through them in a step. An encoder's weights, and those that make keys and values of
        what it gives, see source tokens; the decoder's others see target tokens.
    """

    parameters: float
    tokens: float


@dataclass(frozen=True)
class Attention:
    """Attention blocks of the same shape.

    Attributes:
      blocks: how many, layers of a tower.
      sequences: in a step.
      queries: length.
      keys: length.
      width: heads x the dimension of one.
      causal: whether half of the scores are masked.
    """

    blocks: int
    sequences: int
    queries: int
    keys: int
    width: int
    causal: bool = False


def step_flops(products: Iterable[Products], attention: Iterable[Attention]) -> float:
    """FLOPs of a forward and a backward pass of the whole mesh; nothing computed twice, causal scores halved.

    A weight takes 2 FLOPs a token forward and 4 backward; attention 2 products and 4.
    """
    weights = sum(6.0 * product.parameters * product.tokens for product in products)
    scores = sum(
        12.0 * a.blocks * a.sequences * a.queries * a.keys * a.width * (0.5 if a.causal else 1.0)
        for a in attention
    )
    return weights + scores
