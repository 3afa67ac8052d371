"""The texts in a file, or in a member of an archive, by its kind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipelines.corpus.reading import json_values, lines, tables, web_archives
from data_pipelines.corpus.reading.opening import Opened
from data_pipelines.corpus.reading.place import Place
from data_pipelines.text import json_line
from data_pipelines.text.documents import is_encodable
from pangu_jax.apps.language.retrieval import encoded, markdown, pages, rows
from pangu_jax.apps.language.retrieval.left_out import WHOLE
from pangu_jax.apps.language.retrieval.source_text import SourceText, row


def texts(found: Opened, name: str) -> Iterator[SourceText]:
    """The texts of `found`, in order; what is wrong with a part of it goes to the quarantine of its place.

    Args:
      name: as it is cited.

    Raises:
      BrokenFileError, OSError: as the stream does, after what came before the break.
    """
    place, stream = found.place, found.stream
    match found.kind:
        case "json" if not json_values.is_lines(stream, place):
            for number, value, sample in json_values.values(stream, place):
                yield from _record(value, name, place, number, sample)
        case "json" | "jsonl":
            yield from _lines(found, name)
        case "parquet":
            for frame in tables.read_parquet(stream, place):
                for at, text in frame.select("id", "text").iter_rows():
                    yield SourceText(text, name, int(at.rpartition(":")[2]))
        case "warc":
            for record in web_archives.read(stream, place):
                number = int(record.where or 1)
                if record.html:
                    yield from _page(record.text, f"{name}:{number}", place, number)
                elif record.text.strip():
                    yield SourceText(record.text, name, number)
        case _:
            yield from _whole(found, name)


def _whole(found: Opened, name: str) -> Iterator[SourceText]:
    place = found.place
    limit = place.settings.max_document_bytes
    data, broken = lines.read(found.stream, limit + 1)
    if len(data) > limit:
        place.too_long(1, data)
        return
    decoded = encoded.text_of(data)
    if decoded is None:
        place.reject(WHOLE, "not text: no known encoding", data)
    else:
        text, bad = decoded
        place.note("bad bytes", bad)
        if text.strip():
            yield from _of_text(text, found.kind, name, place)
    if broken:
        raise broken


def _of_text(text: str, kind: str, name: str, place: Place) -> Iterator[SourceText]:
    match kind:
        case "markdown":
            yield from markdown.texts(text, name)
        case "html":
            yield from _page(text, name, place, WHOLE)
        case "csv":
            yield from rows.texts(text, Path(place.name), name, place.quarantine)
        case _:
            yield SourceText(text, name, 1, range(1, text.count("\n") + 2))


def _page(text: str, name: str, place: Place, where: str | int) -> Iterator[SourceText]:
    if text.count("<") > pages.MAX_TAGS:
        place.reject(where, f"a page of more than {pages.MAX_TAGS} tags")
        return
    found = list(pages.texts(text, name))
    if not found:
        place.reject(where, "a page without text outside menus, footers and the like")
    yield from found


def _lines(found: Opened, name: str) -> Iterator[SourceText]:
    place = found.place
    for first, _, block in lines.blocks(found.stream, place):
        lines_of_it, bad = encoded.lines_of(block)
        place.note("bad bytes", bad)
        for number, line in enumerate(lines_of_it, first):
            if not line.strip():
                continue
            try:
                value = json_line.loads(line)
            except ValueError as error:
                place.reject(number, str(error), line)
                continue
            yield from _record(value, name, place, number, line)


def _record(value: Any, name: str, place: Place, number: int, sample: str) -> Iterator[SourceText]:
    """The field "text" of a value of JSON, or all its fields as `name：value`, as a table's row has them."""
    text = value.get("text") if isinstance(value, dict) else value
    source = None
    if isinstance(text, str):
        source = SourceText(text, name, number) if text.strip() else None
    elif isinstance(value, dict):
        fields = ((key, one) for key, one in value.items() if isinstance(one, str | int | float))
        source = row(fields, name, number)
    if source is None:
        place.reject(number, "no text", sample)
    elif not is_encodable(source.text):
        place.reject(number, "lone surrogate", sample)
    else:
        yield source
