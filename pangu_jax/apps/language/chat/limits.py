"""How much of a conversation a model reads and writes where no flag says it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pangu_jax.apps.language.conversion.openpangu.importing import KEY
from pangu_jax.apps.language.decoding import queries
from pangu_jax.apps.language.loaded import LoadedModel

WINDOW, ANSWER = 512, 128  # of a model that continues text
THOUGHTFUL = 4096  # tokens of an answer with what was thought, where nothing published says how many
MOST = 8192  # of an answer: its cache is there from the beginning, and texts of 32,768 fill a card


class ChatLimits(NamedTuple):
    """Tokens.

    Attributes:
      window: read at once.
      answer: of an answer, thoughts among them.
    """

    window: int
    answer: int


def of(loaded: LoadedModel, turns: bool) -> ChatLimits:
    """Those of a model; `turns`: whether it is asked in its own.

    With turns the window is half of its positions and at most what is read in one pass, an answer what the
    published generation_config.json says, at most `MOST`.
    """
    if not turns:
        return ChatLimits(WINDOW, ANSWER)
    files = loaded.manifest.get(KEY, {}).get("files", {})
    positions = loaded.config.positions or _size(files, "config.json", "max_position_embeddings")
    answer = _size(files, "generation_config.json", "max_new_tokens") or THOUGHTFUL
    window = min(queries.LONGEST, (positions or 2 * queries.LONGEST) // 2)
    return ChatLimits(window, min(answer, MOST, (positions or MOST + window) - window))


def _size(files: Mapping[str, Mapping[str, Any]], file: str, entry: str) -> int:
    """A size that a published file says; 0 where it does not."""
    found = files.get(file, {}).get(entry)
    return found if type(found) is int and found > 1 else 0
