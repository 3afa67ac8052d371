"""What a model of pictures and captions needs of its text side."""

from typing import Any, Protocol

import jax
from jax.typing import DTypeLike

from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import Placement
from pangu_jax.models.stack import Remat


class TextForward(Protocol):
    """A forward pass as a run carries it out."""

    def pooled(self, params: Tree, tokens_BxT: jax.Array) -> jax.Array:
        """What stands for each text, [B, width].

        Args:
          params: the tower's.
          tokens_BxT: int32, 0 after the end.
        """
        ...


class TextTower(Protocol):
    """Shape of a text tower."""

    @property
    def width(self) -> int:
        """Of what stands for a text."""
        ...

    @property
    def vocab_size(self) -> int:
        """Token ids are below it."""
        ...

    @property
    def memory_width(self) -> int:
        """Of the picture's tokens as its decoder reads them; 0 where it has none and writes no captions."""
        ...

    def init(self, key: jax.Array) -> Tree:
        """Fresh fp32 parameters."""
        ...

    def axes(self) -> Tree:
        """Their logical axes."""
        ...

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        ...

    def forward(self, placement: Placement, remat: Remat, dtype: DTypeLike) -> Any:
        """A forward pass as a run carries it out, a `TextForward`."""
        ...
