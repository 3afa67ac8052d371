"""From a rendered example to a query: text to the tokens that a model reads, continues, and may say."""

import functools

import numpy as np

from data_pipelines.text.benchmarks import Rendered
from data_pipelines.text.vocabulary import EOS, Vocabulary
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.loaded import LoadedModel


def query(loaded: LoadedModel, rendered: Rendered, ends: bool = False) -> Query:
    """The tokens of a rendered example.

    Prefix and candidates are tokenised apart, so that candidates of one slot differ in the slot only.

    Args:
      loaded: whose vocabulary and conventions count.
      rendered: a pattern's text.
      ends: whether a candidate is followed by the end of the sequence, as an answer is that a model writes;
        in scoring, the end would favour what is often last.
    """
    texts = rendered.candidates or ((rendered.reference,) if rendered.reference else ())
    return Query(
        loaded.encode_inputs(rendered.inputs),
        loaded.encode_target(rendered.prefix),
        _candidates(loaded.vocabulary, texts, ends),
    )


@functools.lru_cache(maxsize=64)
def _candidates(vocabulary: Vocabulary, texts: tuple[str, ...], ends: bool) -> tuple[np.ndarray, ...]:
    """Most examples of a task have the same ones."""
    end = np.array([EOS] if ends else [], np.int32)
    return tuple(np.concatenate([vocabulary.encode(text), end]) for text in texts)
