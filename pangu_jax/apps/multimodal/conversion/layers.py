"""Layers of transformers' towers: which of its tensors is which part of our stacked arrays."""

from typing import NamedTuple

from pangu_jax.runs.exchange.parts import ALL, ForeignTensor, Index, TensorPart, tensor


class LayerNames(NamedTuple):
    """What the parts of a layer are called there, behind the layer's number.

    Attributes:
      attention: queries, keys, values and the projection behind them.
      attention_norm: before it, or after.
      perceptron: the way up, and the way down.
      perceptron_norm: before it, or after.
    """

    attention: tuple[str, str, str, str]
    attention_norm: str
    perceptron: tuple[str, str]
    perceptron_norm: str


CLIP = LayerNames(
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
    "layer_norm1",
    ("mlp.fc1", "mlp.fc2"),
    "layer_norm2",
)
BERT = LayerNames(
    ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    "attention.output.LayerNorm",
    ("intermediate.dense", "output.dense"),
    "output.LayerNorm",
)


class TowerSizes(NamedTuple):
    """Of a tower of theirs, or of ours.

    Attributes:
      width: of the residual stream.
      heads: of attention.
      hidden: of the perceptrons.
    """

    width: int
    heads: int
    hidden: int


def layers(prefix: str, names: LayerNames, count: int, path: str, sizes: TowerSizes) -> list[ForeignTensor]:
    """All layers of a tower.

    Args:
      prefix: of their names, before the number.
      names: behind it.
      count: of layers.
      path: of our stacked arrays.
      sizes: of the tower.
    """
    width, heads, _ = sizes
    kv, found = width // heads, []
    for layer in range(count):
        before, ours = f"{prefix}{layer}.", (layer,)
        *projections, out = names.attention
        for number, part in enumerate(projections):
            where: Index = (layer, ..., number, slice(None))
            found += [
                tensor(
                    f"{before}{part}.weight",
                    (width, width),
                    f"{path}/attention/qkv",
                    where,
                    (heads, kv, width),
                    "201",
                ),
                tensor(f"{before}{part}.bias", (width,), f"{path}/attention/qkv_bias", where, (heads, kv)),
            ]
        found += [
            tensor(
                f"{before}{out}.weight", (width, width), f"{path}/attention/out", ours, (width, heads, kv)
            ),
            tensor(f"{before}{out}.bias", (width,), f"{path}/attention/out_bias", ours),
            *norm(f"{before}{names.attention_norm}", width, f"{path}/attention/norm", ours),
            *perceptron(before, names.perceptron, f"{path}/perceptron", sizes, ours),
            *norm(f"{before}{names.perceptron_norm}", width, f"{path}/perceptron/norm", ours),
        ]
    return found


def perceptron(
    prefix: str, names: tuple[str, str], path: str, sizes: TowerSizes, ours: Index = ALL
) -> list[ForeignTensor]:
    """The way up and the way down."""
    width, hidden, (up, down) = sizes.width, sizes.hidden, names
    return [
        tensor(f"{prefix}{up}.weight", (hidden, width), f"{path}/up", ours, order="10"),
        tensor(f"{prefix}{up}.bias", (hidden,), f"{path}/up_bias", ours),
        tensor(f"{prefix}{down}.weight", (width, hidden), f"{path}/down", ours),
        tensor(f"{prefix}{down}.bias", (width,), f"{path}/down_bias", ours),
    ]


def norm(name: str, width: int, path: str, ours: Index = ALL) -> list[ForeignTensor]:
    """A LayerNorm of torch."""
    return [
        tensor(f"{name}.weight", (width,), f"{path}/scale", ours),
        tensor(f"{name}.bias", (width,), f"{path}/bias", ours),
    ]


def attention_pool(prefix: str, path: str, sizes: TowerSizes) -> list[ForeignTensor]:
    """A learnt query's attention by torch's MultiheadAttention, whose three projections are one tensor, and a
    perceptron."""
    width, heads, _ = sizes
    kv = width // heads
    weights, biases = [], []
    for number, (name, ours) in enumerate(
        (("query", ALL), ("key_value", (..., 0, slice(None))), ("key_value", (..., 1, slice(None))))
    ):
        rows = (slice(number * width, (number + 1) * width),)
        weights.append(TensorPart(f"{path}/{name}", ours, (heads, kv, width), (2, 0, 1), rows))
        biases.append(TensorPart(f"{path}/{name}_bias", ours, (heads, kv), (0, 1), rows))
    attention = f"{prefix}attention."
    return [
        tensor(f"{prefix}probe", (1, 1, width), f"{path}/probe"),
        ForeignTensor(f"{attention}in_proj_weight", (3 * width, width), tuple(weights)),
        ForeignTensor(f"{attention}in_proj_bias", (3 * width,), tuple(biases)),
        tensor(f"{attention}out_proj.weight", (width, width), f"{path}/out", axes=(width, heads, kv)),
        tensor(f"{attention}out_proj.bias", (width,), f"{path}/out_bias"),
        *norm(f"{prefix}layernorm", width, f"{path}/norm"),
        *perceptron(f"{prefix}", CLIP.perceptron, path, sizes),
    ]
