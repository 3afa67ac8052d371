"""A small but real model of two towers of unequal width: pictures in windows, texts, a contrastive loss.

CLIP (arXiv 2103.00020) with the windows of Swin (arXiv 2103.14030), unshifted; no vocabulary is predicted.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.workloads.shape import Attention, End, Product, Shape, Tower

RATIO = 4  # of the feed-forward block's width to the tower's


class TwoTowers(NamedTuple):
    """Its sizes; `pixels` and `window` in patches are sides of squares. The defaults compile in a second."""

    pixels: int = 32
    patch: int = 4
    window: int = 4
    width: int = 64
    heads: int = 4
    layers: int = 2
    text_length: int = 24
    vocabulary: int = 128
    text_width: int = 32
    text_heads: int = 2
    text_layers: int = 3
    embedding: int = 16

    name = "two towers"

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.pixels // self.patch

    def dimensions(self) -> dict[str, int]:
        return {
            "vision_embed": self.width,
            "text_embed": self.text_width,
            "vision_heads": self.heads,
            "text_heads": self.text_heads,
            "vision_layers": self.layers,
            "text_layers": self.text_layers,
            "text_vocab": self.vocabulary,
            "vision_length": self.grid**2,
            "text_length": self.text_length,
        }

    def flops_per_step(self, batch_size: int) -> float:
        return self.shape().flops(batch_size)

    def shape(self) -> Shape:
        """Windows are no task for a kernel; texts look both ways."""
        places, in_window = self.grid**2, self.window**2
        seen = Attention(
            self.heads, self.width // self.heads, places, in_window, False, True, places // in_window
        )
        read = Attention(
            self.text_heads,
            self.text_width // self.text_heads,
            self.text_length,
            self.text_length,
            False,
            False,
        )
        towers = (
            Tower("vision", self.layers, places, self.width, _layer(self.width, places), (seen,), 2),
            Tower(
                "text", self.text_layers, self.text_length, self.text_width,
                _layer(self.text_width, self.text_length), (read,), 2,
            ),
        )  # fmt: skip
        ends = (
            End("patches", 3 * self.patch**2, self.width, places, "input"),
            End("embedding", self.vocabulary, self.text_width, self.text_length, "lookup", "rows"),
            End("vision_head", self.width, self.embedding, 1, "product"),
            End("text_head", self.text_width, self.embedding, 1, "product"),
        )
        return Shape(towers, ends, contrast_width=self.embedding)

    def init(self, key: jax.Array) -> dict:
        """Matrices alone, fp32: what a shape counts."""
        keys = iter(jax.random.split(key, 12))

        def matrix(*shape: int) -> jax.Array:
            return jax.random.normal(next(keys), shape) / shape[-2] ** 0.5

        def tower(layers: int, width: int) -> dict:
            sides = {"qkv": (1, 3), "out": (1, 1), "up": (1, RATIO), "down": (RATIO, 1)}
            return {name: matrix(layers, rows * width, cols * width) for name, (rows, cols) in sides.items()}

        return {
            "patches": matrix(3 * self.patch**2, self.width),
            "embedding": matrix(self.vocabulary, self.text_width),
            "vision": tower(self.layers, self.width),
            "text": tower(self.text_layers, self.text_width),
            "vision_head": matrix(self.width, self.embedding),
            "text_head": matrix(self.text_width, self.embedding),
        }

    def batch(self, size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Pictures cut into patches [B, window, place, pixel], and texts [B, T]."""
        windows = (self.grid // self.window) ** 2
        shape = (size, windows, self.window**2, 3 * self.patch**2)
        texts = jax.ShapeDtypeStruct((size, self.text_length), jnp.int32)
        return {"pictures": jax.ShapeDtypeStruct(shape, jnp.float32), "texts": texts}

    def loss(self, params: dict, batch: dict, gather=lambda z_BxE: z_BxE) -> jax.Array:
        """Each picture with the texts of the whole batch; `gather` brings those of other devices."""
        seen_BxWxNxD = batch["pictures"] @ params["patches"]
        seen_BxWxNxD = _tower(params["vision"], seen_BxWxNxD, self.heads)
        read_BxTxD = _tower(params["text"], params["embedding"][batch["texts"]], self.text_heads)
        picture_BxE = jnp.mean(seen_BxWxNxD, (1, 2)) @ params["vision_head"]
        text_BxE = jnp.mean(read_BxTxD, 1) @ params["text_head"]
        similarity_BxA = picture_BxE @ gather(text_BxE).T
        matching_B = jnp.sum(picture_BxE * text_BxE, 1)
        return jnp.sum(jax.nn.logsumexp(similarity_BxA, 1) - matching_B)


def _layer(width: int, tokens: int) -> tuple[Product, ...]:
    return (
        Product(width, 3 * width, tokens, "columns", saved=True),
        Product(width, width, tokens, "rows", saved=False),
        Product(width, RATIO * width, tokens, "columns", saved=True),
        Product(RATIO * width, width, tokens, "rows", saved=False),
    )


def _tower(layers: dict, x: jax.Array, heads: int) -> jax.Array:
    """Layers over x [..., places that see each other, width]; only their inputs are kept (remat "full")."""

    @jax.checkpoint
    def layer(x: jax.Array, weights: dict) -> tuple[jax.Array, None]:
        qkv = jnp.split((_normed(x) @ weights["qkv"]).reshape(*x.shape[:-1], heads, -1), 3, axis=-1)
        scores = jnp.einsum("...qhd,...khd->...hqk", *qkv[:2])
        mixed = jnp.einsum("...hqk,...khd->...qhd", jax.nn.softmax(scores), qkv[2])
        x = x + mixed.reshape(x.shape) @ weights["out"]
        return x + jax.nn.gelu(_normed(x) @ weights["up"]) @ weights["down"], None

    return jax.lax.scan(layer, x, layers)[0]


def _normed(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)
