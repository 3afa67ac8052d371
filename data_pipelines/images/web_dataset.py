"""Files of an archive that belong together, in WebDataset's layout: `KEY.jpg` with `KEY.cls`, `KEY.json`.

Where nothing lies beside a picture, the first folder of its name is its label; one at the top has none.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from data_pipelines.images.picture import PictureFile

LABELS = ("label", "class", "cls", "category")  # fields of a .json
GROUPS = ("group",)


def joined(members: Iterable[tuple[str, bytes]], before: str, skipped: Counter[str]) -> Iterator[PictureFile]:
    """The pictures of an archive, in its order, with what lies beside each.

    Args:
      members: (name, content) of pictures and of files beside them; those of one key follow one another, as
        WebDataset demands.
      before: the beginning of every picture's name.
      skipped: counts pictures whose .json is none: nobody knows what they are.
    """
    key, parts = None, {}
    for name, content in members:
        if key_of(name) != key:
            yield from _sample(parts, before, skipped)
            key, parts = key_of(name), {}
        parts[name] = content
    yield from _sample(parts, before, skipped)


def key_of(name: str) -> str:
    """Up to the first point of the last part, as WebDataset has it."""
    path = PurePosixPath(name)
    return str(path.parent / path.name.split(".", 1)[0])


def _sample(parts: dict[str, bytes], before: str, skipped: Counter[str]) -> Iterator[PictureFile]:
    """The pictures of one key."""
    label = group = None
    pictures = []
    for name, content in parts.items():
        suffix = PurePosixPath(name).suffix.lower()
        if suffix == ".cls":
            label = content.decode("utf-8", "replace").strip()[:200] or None
        elif suffix == ".json":
            try:
                told = json.loads(content)
            except ValueError:  # UnicodeDecodeError is one
                skipped["pictures beside a .json that is none"] += 1
                return
            told = told if isinstance(told, dict) else {}
            label = label or _first(told, LABELS)
            group = _first(told, GROUPS)
        elif suffix not in (".txt", ".caption", ".index"):
            pictures.append((name, content))
    for name, content in pictures:
        yield PictureFile(f"{before}{name}", content, label or _folder(name), group)


def _folder(name: str) -> str | None:
    first, _, rest = name.removeprefix("./").partition("/")
    return first if rest else None


def _first(told: dict, names: tuple[str, ...]) -> str | None:
    found = next((told[name] for name in names if told.get(name) is not None), None)
    return str(found)[:200] if isinstance(found, str | int) else None
