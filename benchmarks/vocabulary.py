"""What a trained vocabulary costs: three books that it sees stretches of, and text without ends of lines.

Books are 1.1 million characters each of statutes, translated articles and classics, the documents of a source
one after the other. The vocabulary is trained as `pangu train` does, on a sample of what is not held out; it
is compared with one trained on all that is not held out. Unseen text is what was held out, and the documents
of the same source that come after the book. Text without ends of lines is 120 statutes with a full stop and a
space after every sentence and no newline, beside the same text with a newline in place of that space.

    python -m benchmarks.vocabulary [--size 8192] [--data_dir ../shared/data]
"""

import argparse
import json
import lzma
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_pipelines.text import documents
from data_pipelines.text.documents import Document
from data_pipelines.text.tasks.building import vocabulary_characters
from data_pipelines.text.vocabulary import Vocabulary, train

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[1] / "../shared/data")
BOOKS = {"statutes": "laws", "articles": "lctt", "classics": "niutrans_modern"}
BOOK, AFTER = 1_100_000, 200_000  # characters
STATUTES, STATUTES_AFTER = 120, 30  # documents
FRACTION = 0.02  # held out


def texts(data: Path, source: str) -> Iterator[str]:
    """The documents of a source, in the order of its file."""
    with lzma.open(data / "corpus_zh" / f"{source}.jsonl.xz", "rt", encoding="utf-8") as stream:
        yield from (json.loads(line)["text"] for line in stream)


def book_and_after(data: Path, source: str) -> tuple[str, str]:
    """The first `BOOK` characters of a source and the next `AFTER`."""
    parts, size = [], 0
    for text in texts(data, source):
        parts.append(text)
        size += len(text) + 1
        if size > BOOK + AFTER:
            break
    whole = "\n".join(parts)
    return whole[:BOOK], whole[BOOK : BOOK + AFTER]


def trained(parts: Sequence[Document], characters: int, size: int) -> Vocabulary:
    """A vocabulary of a sample; its training goes to the terminal."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        lines = documents.lines_of(parts, documents.sample(parts, characters))
        facts = train(lines, size, Path(folder, "vocabulary.model"), of=(part.text for part in parts))
        seconds = time.perf_counter() - began
        print(
            f"{facts.ids:,} ids of {facts.characters:,} characters, {facts.pieces_of_one:,} of one "
            f"character, {facts.in_bytes / facts.characters:.2%} in bytes, {seconds:.0f} s"
        )
        return Vocabulary(Path(folder, "vocabulary.model"))


def cost(vocabulary: Vocabulary, text: str) -> tuple[float, float]:
    """Tokens per character, and the share of tokens that are bytes."""
    tokens = [token for line in text.splitlines(keepends=True) for token in vocabulary.encode(line).tolist()]
    return len(tokens) / len(text), sum(map(vocabulary.is_byte, tokens)) / len(tokens)


def books(data: Path, size: int) -> None:
    """The table of the three books."""
    found = {name: book_and_after(data, source) for name, source in BOOKS.items()}
    whole = [Document(name, book) for name, (book, _) in found.items()]
    parts = documents.split(whole, FRACTION)
    counts = parts.counts()["characters"]
    print(f"held out {counts['validation'] / sum(counts.values()):.2%}, {len(parts.validation)} stretches")
    sampled = trained(parts.train, vocabulary_characters(size), size)
    of_all = trained(parts.train, len(whole) * BOOK, size)
    row = "{:<10}{:<20}{:>12}{:>12}{:>12}{:>12}{:>8}".format
    print(row("book", "unseen text", "characters", "sampled", "of all", "bytes", "ratio"))
    for name, (_, after) in found.items():
        held_out = "".join(d.text for d in parts.validation if d.part_of == name)
        for kind, text in (("held out of it", held_out), ("what comes after it", after)):
            (mine, in_bytes), (theirs, _) = cost(sampled, text), cost(of_all, text)
            cells = (
                f"{len(text):,}",
                f"{mine:.4f}",
                f"{theirs:.4f}",
                f"{in_bytes:.2%}",
                f"{mine / theirs:.3f}",
            )
            print(row(name, kind, *cells))


def ends_of_lines(data: Path, size: int) -> None:
    """The table of text without ends of lines."""
    source = texts(data, "laws")
    statutes = [next(source) for _ in range(STATUTES + STATUTES_AFTER)]
    plain = [re.sub(r"[。！？!?；;…]?\s*\n\s*|[。！？!?]", ". ", text.strip()) for text in statutes]
    row = "{:<24}{:>14}{:>14}{:>10}".format
    print(row("120 statutes", "tokens per", "of tokens", "ratio"))
    print(row("", "character", "in bytes", ""))
    first = 0.0
    for name, of in (("with ends of lines", [t.replace(". ", ".\n") for t in plain]), ("without", plain)):
        train_of, after = of[:STATUTES], of[STATUTES:]
        own = [Document(str(number), text) for number, text in enumerate(train_of)]
        vocabulary = trained(documents.split(own, FRACTION).train, vocabulary_characters(size), size)
        mine, in_bytes = cost(vocabulary, "".join(after))
        first = first or mine
        print(row(name, f"{mine:.4f}", f"{in_bytes:.2%}", f"{mine / first:.3f}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=8192, help="ids of the vocabularies")
    parser.add_argument("--data_dir", type=Path, default=DATA)
    flags = parser.parse_args()
    if not (flags.data_dir / "corpus_zh").is_dir():
        sys.exit(f"there is no {flags.data_dir / 'corpus_zh'}: set --data_dir or PANGU_DATA_DIR")
    books(flags.data_dir, flags.size)
    ends_of_lines(flags.data_dir, flags.size // 2)


if __name__ == "__main__":
    main()
