"""WARC and WET: pages by fastwarc, with their transfer and content encodings undone."""

import io
import re
from collections.abc import Iterator
from typing import Literal

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from data_pipelines.corpus.reading.compression import BrokenFileError
from data_pipelines.corpus.reading.encodings import is_utf8
from data_pipelines.corpus.reading.place import Place, Record
from data_pipelines.corpus.reading.plain_text import decoded

_Decoding = Literal["all", "content", "none", "transfer"]
_WANTED = (WarcRecordType.response, WarcRecordType.conversion, WarcRecordType.resource)
_HTML = ("text/html", "application/xhtml+xml")
_CHUNK = re.compile(rb"[0-9a-fA-F]{1,8}[ \t]*(?:;[^\r\n]*)?\r?\n")
_MAGIC = {"gzip": b"\x1f\x8b", "x-gzip": b"\x1f\x8b"}  # others have none


def read(stream: io.BufferedReader, place: Place) -> Iterator[Record]:
    """Pages and texts, named by their record's number.

    These are responses with HTML and status 200, resources with HTML or plain text (what crawlers of browsers
    write), and conversions (the text records of WET). A payload that is stored decoded is read, whatever its
    header says of a packing.

    Raises:
      BrokenFileError: the archive breaks off, or is none. What came before is read.
    """
    head = stream.peek(5)[:5]
    if head and head != b"WARC/":
        raise BrokenFileError("broken WARC file: it does not begin as one")
    limit = place.settings.max_document_bytes
    records = ArchiveIterator(stream, parse_http=False)
    number = 0
    while True:
        try:
            record = next(records, None)
            if record is None:
                return
            number += 1
            if "Content-Length" not in record.headers:
                raise BrokenFileError(f"broken WARC file: it ends in the head of record {number}")
            if record.record_type not in _WANTED:
                continue
            # Not as many bytes as it says it has: they would be allocated.
            content = record.reader.read(min(record.content_length, limit) + 1)
        except OSError as error:
            raise BrokenFileError(f"broken WARC file: {error}") from error
        if len(content) > limit:
            place.too_long(number, content)
        elif len(content) < record.content_length:
            raise BrokenFileError(f"broken WARC file: it ends in record {number}")
        else:
            yield from _documents(content, place, number, record)


def _documents(content: bytes, place: Place, number: int, record: WarcRecord) -> Iterator[Record]:
    address = (record.headers.get("WARC-Target-URI") or "").strip("<>") or None
    kind, charset = "text/plain", None
    if record.record_type == WarcRecordType.resource:
        kind, charset = _media_type(record.headers.get("Content-Type"))
        if kind not in (*_HTML, "text/plain"):
            place.note("resources that are no pages", 1)
            return
    elif record.record_type == WarcRecordType.response:
        try:
            page = _page(content, place.settings.max_document_bytes)
        except OSError as error:
            place.reject(number, f"broken HTTP response: {error}", content)
            return
        if page is None:
            place.note("responses that are no pages", 1)
            return
        kind, charset, content = page
        if len(content) > place.settings.max_document_bytes:
            place.too_long(number, content)
            return
    if content and (text := decoded(content, place, number, charset)):
        yield Record(number, text, address, html=kind in _HTML)


def _page(content: bytes, limit: int) -> tuple[str, str | None, bytes] | None:
    """(media type, charset, body) of an HTTP response that is a page; OSError for a body that breaks off.

    Of the body, `limit` bytes and one more.
    """
    response, body = _response(content, "none", limit)
    headers = response.http_headers
    if headers is None or headers.status_code != 200:
        return None
    kind, charset = _media_type(headers.get("Content-Type"))
    if kind not in _HTML:
        return None
    chunked = False
    if "chunked" in (headers.get("Transfer-Encoding") or "").lower() and _CHUNK.match(body):
        chunked = True
        body = _response(content, "transfer", limit)[1]
    packing = (headers.get("Content-Encoding") or "").strip().lower()
    if packing and body.startswith(_MAGIC.get(packing, b"")):
        try:
            body = _response(content, "all" if chunked else "content", limit)[1]
        except OSError:
            if packing in _MAGIC or not is_utf8(body):
                raise
    return kind, charset, body


def _response(content: bytes, decoding: _Decoding, limit: int) -> tuple[WarcRecord, bytes]:
    response = WarcRecord()
    response.init_headers(WarcRecordType.response)
    response.set_bytes_content(content)
    response.is_http = True
    response.parse_http(auto_decode=decoding)
    return response, response.reader.read(limit + 1)


def _media_type(header: str | None) -> tuple[str, str | None]:
    """(type/subtype in small letters, charset) of a header's value, in which no case matters."""
    kind, *parameters = (header or "").lower().split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and (value := value.strip().strip("\"'").strip()):
            return kind.strip(), value
    return kind.strip(), None
