"""The shape of a model in numbers: what predicting its memory and its time needs, and no more.

A workload that can tell its shape can be planned (`pangu plan`, `layout="auto"`). The planner reads these
attributes and imports nothing from here.
"""

from typing import Literal, NamedTuple


class Product(NamedTuple):
    """A weight matrix of one layer.

    Attributes:
      rows: width of what is multiplied.
      columns: width of what comes out.
      tokens: positions an example that are multiplied by it.
      split: which of the two widths is split by tensor parallelism.
      saved: whether what comes out is kept when remat keeps products.
    """

    rows: int
    columns: int
    tokens: int
    split: Literal["rows", "columns"]
    saved: bool

    @property
    def parameters(self) -> int:
        return self.rows * self.columns


class Attention(NamedTuple):
    """Scores between all queries and keys of an example.

    Attributes:
      heads: heads, split by tensor parallelism.
      width: of one head.
      queries: positions that look.
      keys: positions looked at.
      causal: whether half of the pairs do not count.
      plain: whether no kernel takes it (a bias on the scores): its T x S matrices are in memory.
    """

    heads: int
    width: int
    queries: int
    keys: int
    causal: bool
    plain: bool

    @property
    def flops(self) -> float:
        """Forward FLOPs of an example; of causal pairs, those that count."""
        return 4.0 * self.heads * self.width * self.queries * self.keys * (0.5 if self.causal else 1.0)


class Tower(NamedTuple):
    """Equal layers, one after the other.

    Attributes:
      name: such as "encoder".
      layers: their number.
      tokens: positions an example of its residual stream.
      width: of the residual stream.
      products: weight matrices of a layer.
      attentions: of a layer.
      blocks: additions to the residual stream a layer.
      memory_tokens: positions an example of another tower's output that every layer reads; 0 for none.
    """

    name: str
    layers: int
    tokens: int
    width: int
    products: tuple[Product, ...]
    attentions: tuple[Attention, ...]
    blocks: int
    memory_tokens: int = 0

    @property
    def parameters(self) -> int:
        """Of a layer, without the scales of norms."""
        return sum(product.parameters for product in self.products)

    @property
    def flops(self) -> float:
        """Forward FLOPs of an example through one layer."""
        products = sum(2.0 * product.parameters * product.tokens for product in self.products)
        return products + sum(attention.flops for attention in self.attentions)


class Shape(NamedTuple):
    """A model: towers one after the other, between an embedding and a head over a vocabulary.

    Attributes:
      towers: in the order in which a batch passes them; equally wide.
      vocabulary: rows of the embedding and of the head.
      tables: 1 when head and embedding are the same parameters, else 2.
      head_tokens: positions an example that the head looks at.
      loss_chunks: pieces of them whose logits exist one after the other.
    """

    towers: tuple[Tower, ...]
    vocabulary: int
    tables: int
    head_tokens: int
    loss_chunks: int

    @property
    def width(self) -> int:
        """Of the residual stream."""
        return self.towers[0].width

    @property
    def parameters(self) -> int:
        """All of them, without the scales of norms."""
        layers = sum(tower.layers * tower.parameters for tower in self.towers)
        return layers + self.tables * self.vocabulary * self.width

    def flops(self, batch_size: int) -> float:
        """Model FLOPs of a step, forward and backward: each tower by its own tokens."""
        forward = sum(tower.layers * tower.flops for tower in self.towers)
        return 3.0 * batch_size * (forward + 2.0 * self.head_tokens * self.vocabulary * self.width)
