"""What was made of a corpus's text, and what was not: held out, trained on, seen by the vocabulary."""

from collections.abc import Mapping
from typing import Any

HEADINGS = ("text", "characters", "documents", "share")


def rows(manifest: Mapping[str, Any]) -> list[tuple[str | int | None, ...]]:
    """Rows under `HEADINGS` from the manifest of a token cache."""
    use: Mapping[str, Any] = manifest["use_of_text"]
    characters, documents = use["characters"], use["documents"]
    total = sum(characters.values())
    found: list[tuple[str | int | None, ...]] = [
        ("all of it, without duplicates", total, use["different"], None),
        ("trained on", characters["train"], documents["train"], share(characters["train"], total)),
        (
            "held out" + (", in stretches" if use["stretches"] else ", whole documents"),
            characters["validation"],
            documents["validation"],
            share(characters["validation"], total),
        ),
    ]
    for name, count in (("left out, duplicates", "duplicates"), ("left out, without letters", "blank")):
        if manifest[count]:
            found.append((name, None, manifest[count], None))
    return found + _of_vocabulary(use["vocabulary"], characters["train"])


def _of_vocabulary(training: Mapping[str, int], trained_on: int) -> list[tuple[str | int | None, ...]]:
    """Nothing for a vocabulary that was not trained here."""
    if not training:
        return []
    seen, ids, asked = training["seen"], training["ids"], training["asked"]
    of = "" if ids == asked else f" of {asked:,} asked: the text gives no more"
    rare = training["in_bytes"]
    return [
        (
            f"seen by the vocabulary of {ids:,} ids{of}",
            seen,
            training["documents"],
            share(seen, trained_on),
        ),
        ("of that rare characters, spelt in bytes", rare, None, share(rare, training["characters"])),
    ]


def share(part: int, whole: int) -> str:
    """In percent, to two digits or a hundredth."""
    percent = 100 * part / max(whole, 1)
    return f"{percent:.3g}%" if percent >= 0.1 else f"{percent:.2f}%"
