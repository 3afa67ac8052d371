"""From a rendered example to a query: text to the tokens that a model reads, continues, and may say."""

import functools

import numpy as np

from data_pipelines.text.benchmarks import Rendered
from data_pipelines.text.vocabulary import Vocabulary
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.loaded import LoadedModel


def query(loaded: LoadedModel, rendered: Rendered, ends: bool = False) -> Query:
    """The tokens of a rendered example.

    Prefix and candidates are tokenised apart, so that candidates of one slot differ in the slot only. A
    decoder alone reads what an encoder would as the beginning of its own text, which candidates go on.

    Args:
      loaded: whose vocabulary and conventions count.
      rendered: a pattern's text.
      ends: whether a candidate is followed by the end of the sequence, as an answer is that a model writes;
        in scoring, the end would favour what is often last.
    """
    texts = rendered.candidates or ((rendered.reference,) if rendered.reference else ())
    if loaded.decoder_alone:
        asked = loaded.continued(rendered.inputs + rendered.prefix)
        within = bool(len(asked.prefix))
    else:
        prefix = loaded.encode_target(rendered.prefix)
        asked = Query(loaded.encode_inputs(rendered.inputs), prefix, start=loaded.vocabulary.special.start)
        within = False
    return asked._replace(candidates=_candidates(loaded.vocabulary, texts, ends, within))


@functools.lru_cache(maxsize=64)
def _candidates(
    vocabulary: Vocabulary, texts: tuple[str, ...], ends: bool, within: bool
) -> tuple[np.ndarray, ...]:
    """Most examples of a task have the same ones. `within`: whether they go on in a text."""
    end = np.array([vocabulary.special.eos] if ends else [], np.int32)
    encoded = (vocabulary.encode_within(text) if within else vocabulary.encode(text) for text in texts)
    return tuple(np.concatenate([tokens, end]) for tokens in encoded)
