"""Embeddings of texts by a model's own encoder, in a vector index.

A text's vector is the mean of the encoder's outputs over its tokens. Such vectors share one large common
direction; taking the passages' mean away before normalising is what makes their cosine distinguish texts
(Mu & Viswanath 2018, arXiv 1702.01417). The encoder reads simplified characters, as corpora are cleaned.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.apps.language.decoding import queries
from pangu_jax.apps.language.decoding.prefill import encoder_batch
from pangu_jax.apps.language.retrieval.folding import simplified
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model.forward import Forward

EXACT = 50_000  # vectors up to which every one is compared: milliseconds, and nothing is missed
_BATCH = 16
_SHORTEST = 32  # tokens of the smallest window compiled


class Encoder:
    """Texts to vectors.

    Args:
      forward: the model.
      params: its parameters.
      encode: text to int32 [tokens], such as `LoadedModel.encode_inputs`.
      longest: tokens of a text that are looked at; passages are cut to size before they get here.
    """

    def __init__(
        self, forward: Forward, params: Tree, encode: Callable[[str], np.ndarray], longest: int = 512
    ):
        self._forward, self._params, self._encode, self._longest = forward, params, encode, longest

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """fp32 [texts, D]: means over tokens, neither centred nor normalised."""
        tokens = [self._encode(text)[: self._longest] for text in texts]
        found = np.zeros((len(texts), self._forward.config.d_model), np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
        batch = queries.whole_shards(_BATCH, self._forward.placement.batch_shards)
        for start in range(0, len(texts), batch):
            rows = by_length[start : start + batch]
            longest = max(len(tokens[i]) for i in rows)
            window = max(_SHORTEST, 1 << (longest - 1).bit_length())  # powers of two: few programs
            tokens_BxS = np.zeros((batch, window), np.int32)
            for row, i in enumerate(rows):
                tokens_BxS[row, : len(tokens[i])] = tokens[i]
            found[rows] = np.asarray(_pooled(self._forward, self._params, tokens_BxS))[: len(rows)]
        return found

    def fingerprint(self) -> str:
        """sha256 of the weights that make the vectors, hex."""
        digest = hashlib.sha256(repr(self._forward.config).encode())
        parts = {name: self._params[name] for name in sorted(self._params) if not name.startswith("decoder")}
        for leaf in jax.tree.leaves(parts):
            digest.update(np.ascontiguousarray(leaf).data)
        return digest.hexdigest()


@partial(jax.jit, static_argnames="forward")
def _pooled(forward: Forward, params: Tree, tokens_BxS: jax.Array) -> jax.Array:
    batch = encoder_batch(tokens_BxS)
    weights_BxS = batch["encoder_segment_ids"].astype(jnp.float32)
    outputs_BxSxD = forward.encode(params, batch).astype(jnp.float32)
    sums_BxD = jnp.einsum("bs,bsd->bd", weights_BxS, outputs_BxSxD)
    return sums_BxD / jnp.maximum(weights_BxS.sum(axis=1, keepdims=True), 1.0)


class Embeddings:
    """A vector index by faiss: exact up to `EXACT` vectors, beyond it a graph (HNSW, Malkov & Yashunin)."""

    def __init__(self, encoder: Encoder, index, mean_D: np.ndarray):
        self._encoder, self._index, self._mean_D = encoder, index, mean_D

    @classmethod
    def build(cls, encoder: Encoder, texts: Sequence[str]) -> "Embeddings":
        """Embeds and indexes the texts."""
        faiss = _faiss()
        vectors_NxD = encoder.vectors([simplified(text) for text in texts])
        mean_D = vectors_NxD.mean(axis=0)
        kind = "Flat" if len(texts) <= EXACT else "HNSW32,Flat"
        index = faiss.index_factory(vectors_NxD.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        index.add(_normalised(vectors_NxD - mean_D))
        return cls(encoder, index, mean_D)

    @classmethod
    def load(cls, encoder: Encoder, directory: Path) -> "Embeddings":
        """What `save` wrote."""
        index = _faiss().read_index(str(directory / "vectors.faiss"))
        return cls(encoder, index, np.load(directory / "mean.npy", allow_pickle=False))

    def save(self, directory: Path) -> None:
        """Writes the index, in faiss's own format, and the mean into a directory."""
        _faiss().write_index(self._index, str(directory / "vectors.faiss"))
        np.save(directory / "mean.npy", self._mean_D, allow_pickle=False)

    def search(self, question: str, count: int) -> list[tuple[int, float]]:
        """(text's number, cosine) of at most `count` texts, best first."""
        vector_1xD = _normalised(self._encoder.vectors([simplified(question)]) - self._mean_D)
        scores, numbers = self._index.search(vector_1xD, min(count, self._index.ntotal))
        return [(int(i), float(s)) for i, s in zip(numbers[0], scores[0], strict=True) if i >= 0]


def _normalised(vectors_NxD: np.ndarray) -> np.ndarray:
    return vectors_NxD / np.maximum(np.linalg.norm(vectors_NxD, axis=1, keepdims=True), 1e-12)


def _faiss():
    try:
        import faiss
    except ImportError:
        raise UserError("retrieval by embeddings needs faiss: pip install 'pangu-jax[knowledge]'") from None
    return faiss
