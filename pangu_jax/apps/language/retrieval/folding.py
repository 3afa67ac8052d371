"""One form for what is searched and for what is asked: traditional characters find simplified ones."""

import functools
import unicodedata
from collections.abc import Callable

from pangu_jax.apps.language.retrieval.extra import knowledge_extra


def simplified(text: str) -> str:
    """Traditional characters as simplified ones, by OpenCC (t2s), as the corpus is cleaned."""
    return _converter()(text)


def folded(text: str) -> str:
    """NFKC, lower case, simplified characters."""
    return simplified(unicodedata.normalize("NFKC", text).lower())


@functools.cache
def _converter() -> Callable[[str], str]:
    with knowledge_extra():
        import opencc
    return opencc.OpenCC("t2s").convert
