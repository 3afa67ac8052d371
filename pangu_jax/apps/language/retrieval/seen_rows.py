"""Rows that were read before: a full-text index and a view give many a row again."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

_MANY = 1000  # rows that share even the rarest value: a row like that is read again rather than looked for


class SeenRows:
    """What was in rows, by hashes.

    Args:
      names: whether a value counts with its column's name: what a view calls by another name is new text.
        Without, spaces do not count either: an index often holds its words apart.
    """

    def __init__(self, names: bool):
        self._names = names
        self._rows: list[frozenset[int]] = []
        self._with: dict[int, list[int]] = defaultdict(list)

    def add(self, fields: Iterable[tuple[str, str]]) -> None:
        """Remembers a row."""
        found = self._hashes(fields)
        for one in found:
            self._with[one].append(len(self._rows))
        self._rows.append(found)

    def holds(self, fields: Sequence[tuple[str, str]]) -> bool:
        """Whether all of a row's values are in one row that was added."""
        found = self._hashes(fields)
        if not found or any(one not in self._with for one in found):
            return False
        rarest = min((self._with[one] for one in found), key=len)
        return any(found <= self._rows[row] for row in rarest[:_MANY])

    def _hashes(self, fields: Iterable[tuple[str, str]]) -> frozenset[int]:
        if self._names:
            return frozenset(hash(field) for field in fields)
        return frozenset(hash("".join(value.split())) for _, value in fields)
