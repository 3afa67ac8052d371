"""The shape of a model in numbers: what predicting its memory and its time needs, and no more.

A workload that has a `shape()` can be planned (`pangu plan`, `layout="auto"`).
"""

from typing import Literal, NamedTuple


class Product(NamedTuple):
    """A weight matrix of one layer.

    Attributes:
      rows: width of what is multiplied.
      columns: width of what comes out.
      tokens: positions per example that are multiplied by it.
      split: which of the two widths is split by tensor parallelism; None where every device has it whole.
      saved: whether what comes out is kept when remat keeps products.
      experts: matrices of these widths, of which a position visits some: `tokens` counts it once for each.
    """

    rows: int
    columns: int
    tokens: int
    split: Literal["rows", "columns"] | None
    saved: bool
    experts: int = 1

    @property
    def parameters(self) -> int:
        """Of all experts."""
        return self.rows * self.columns * self.experts

    @property
    def flops(self) -> float:
        """Forward FLOPs per example, of the experts that are visited."""
        return 2.0 * self.rows * self.columns * self.tokens


class Attention(NamedTuple):
    """Scores between queries and keys of an example, each query with the keys of its window.

    Attributes:
      heads: heads, split by tensor parallelism.
      width: of one head; where values have another than keys, the mean.
      queries: positions per example that look, over all windows.
      keys: positions that each of them looks at: those of its window.
      causal: whether half of the pairs do not count.
      plain: whether no kernel takes it (a bias on the scores, small windows): its queries x keys matrices are
        in memory.
      windows: windows per example that see nothing of each other; 1 where every query sees all keys.
      shared: numbers of a position from which all heads make their keys and values; 0 where each has its own.
    """

    heads: int
    width: int
    queries: int
    keys: int
    causal: bool
    plain: bool
    windows: int = 1
    shared: int = 0

    @property
    def flops(self) -> float:
        """Forward FLOPs per example; of causal pairs, those that count."""
        return 4.0 * self.heads * self.width * self.queries * self.keys * (0.5 if self.causal else 1.0)


class Routing(NamedTuple):
    """Experts of a layer.

    Attributes:
      experts: their number, which the mesh axis `expert` splits.
      active: those that a position visits.
      even: whether as many of them are in each part of the experts: one of each group.
    """

    experts: int
    active: int
    even: bool


class Tower(NamedTuple):
    """Equal layers, one after the other.

    Attributes:
      name: such as "encoder".
      layers: their number.
      tokens: positions per example of its residual stream.
      width: of the residual stream; other towers may have another.
      products: weight matrices of a layer.
      attentions: of a layer.
      blocks: additions to the residual stream per layer.
      memory_tokens: positions per example of another tower's output that every layer reads; 0 for none.
      memory_width: of that output.
      staged: whether a pipeline cuts it over its stages. One that is not is whole on every stage: before the
        first that is, each stage runs it on all microbatches; after it, on its share of them.
      routing: of a layer with experts; its products with `experts` above 1 are theirs.
      learns: whether gradients go back through it; a teacher has a forward pass alone, and what it weighs is
        state and no parameters.
    """

    name: str
    layers: int
    tokens: int
    width: int
    products: tuple[Product, ...]
    attentions: tuple[Attention, ...]
    blocks: int
    memory_tokens: int = 0
    memory_width: int = 0
    staged: bool = True
    learns: bool = True
    routing: Routing | None = None

    @property
    def parameters(self) -> int:
        """Of a layer, without the scales of norms."""
        return sum(product.parameters for product in self.products)

    @property
    def of_experts(self) -> int:
        """Of these parameters, those of experts."""
        return sum(product.parameters for product in self.products if product.experts > 1)

    @property
    def flops(self) -> float:
        """Forward FLOPs per example through one layer."""
        products = sum(product.flops for product in self.products)
        return products + sum(attention.flops for attention in self.attentions)

    @property
    def passes(self) -> int:
        """Forward, and a backward pass of twice its FLOPs where there is one."""
        return 3 if self.learns else 1


class End(NamedTuple):
    """A weight matrix outside the layers: a table of embeddings, a projection of patches, a head.

    A matrix that is used twice is two ends, the second of them tied.

    Attributes:
      name: such as "head".
      rows: width of what is multiplied; of a table, its entries.
      columns: width of what comes out.
      tokens: positions per example that pass it.
      kind: "lookup" takes rows of it. "input" multiplies the batch itself, to which no gradient goes back.
        "product" multiplies what a tower made. "constant" does that and is state, not parameters: a queue.
        "forward" is state too, and nothing goes back from it: a teacher's head.
      split: which of its sides is split by tensor parallelism; None where none is: then each device takes its
        own positions.
      loss_chunks: where a loss is taken over what comes out (a vocabulary, classes, pixels): the pieces whose
        fp32 outputs exist one after the other; 0 where none is.
      tied: whether its parameters are those of an end before it.
    """

    name: str
    rows: int
    columns: int
    tokens: int
    kind: Literal["lookup", "input", "product", "constant", "forward"]
    split: Literal["rows", "columns"] | None = None
    loss_chunks: int = 0
    tied: bool = False

    @property
    def size(self) -> int:
        """Numbers of the matrix, whether they are its own or not."""
        return self.rows * self.columns

    @property
    def parameters(self) -> int:
        """Its own."""
        return 0 if self.tied or self.kind in ("constant", "forward") else self.size

    @property
    def products(self) -> int:
        """Matrix products forward and backward: the output, the matrix' gradient, the input's gradient."""
        return {"lookup": 0, "input": 2, "product": 3, "constant": 2, "forward": 1}[self.kind]

    @property
    def flops(self) -> float:
        """Of one of these products, per example."""
        return 2.0 * self.size * self.tokens


class Shape(NamedTuple):
    """A model: towers of layers, and what is before, between and after them.

    Attributes:
      towers: in the order in which a batch passes them.
      ends: the matrices outside of them, in the order in which a batch passes them.
      contrast_width: of the embeddings of a contrastive loss, which compares every example with every example
        of the batch; 0 for none.
      others: parameters that multiply nothing, where they are many: tables of biases on scores.
    """

    towers: tuple[Tower, ...]
    ends: tuple[End, ...] = ()
    contrast_width: int = 0
    others: int = 0

    @property
    def parameters(self) -> int:
        """All of them, without norms, biases and tables of positions unless `others` has them."""
        layers = sum(tower.layers * tower.parameters for tower in self.towers if tower.learns)
        return layers + sum(end.parameters for end in self.ends) + self.others

    @property
    def staged(self) -> tuple[Tower, ...]:
        """The towers that a pipeline cuts over its stages."""
        return tuple(tower for tower in self.towers if tower.staged)

    def flops(self, batch_size: int) -> float:
        """Model FLOPs per step, forward and backward, each tower by its own tokens, without recomputation."""
        layers = sum(tower.passes * tower.layers * tower.flops for tower in self.towers)
        ends = sum(end.products * end.flops for end in self.ends)
        return batch_size * (layers + ends + 6.0 * batch_size * self.contrast_width)


class HeldArray(NamedTuple):
    """Some numbers that devices hold while a model is used.

    Attributes:
      numbers: of the whole.
      axes: the logical axis of each dimension.
      bytes_each: of a number; None is the width of products.
      read: the part of them that a step reads, where no row chooses: 0 of a table that rows are taken from.
      chosen: experts that a token visits over those there are, where a step reads what its tokens visit; 1
        where it reads all.
    """

    numbers: int
    axes: tuple[str | None, ...]
    bytes_each: int | None = None
    read: float = 1.0
    chosen: float = 1.0


class DecodingShape(NamedTuple):
    """A model that writes, in numbers: what it holds and moves to write a token of each of some texts.

    Attributes:
      parameters: of the model.
      texts: written side by side.
      tokens: of each, read and written.
      weights: of the decoder, one entry for each array of a layer.
      beside: of an encoder, which reads once.
      cache: what earlier tokens left, and an encoder's output.
      width: of the residual stream.
      vocabulary: rows of the head.
      heads: of queries.
      crossings: sums over parts of a layer's products: a step's, over all layers.
      routed: layers with experts.
    """

    parameters: int
    texts: int
    tokens: int
    weights: tuple[HeldArray, ...]
    beside: tuple[HeldArray, ...]
    cache: tuple[HeldArray, ...]
    width: int
    vocabulary: int
    heads: int
    crossings: int
    routed: int
