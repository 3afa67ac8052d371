"""WARC and WET: pages by fastwarc, with their transfer and content encodings undone."""

import io
from collections.abc import Iterator

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from data_pipelines.corpus.reading.compression import BrokenFileError
from data_pipelines.corpus.reading.place import Place, Record
from data_pipelines.corpus.reading.plain_text import decoded

_WANTED = (WarcRecordType.response, WarcRecordType.conversion)
_HTML = ("text/html", "application/xhtml+xml")


def read(stream: io.BufferedReader, place: Place) -> Iterator[Record]:
    """Responses with HTML and status 200, and conversions (the text records of WET), named by their number.

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
    charset = None
    page = record.record_type == WarcRecordType.response
    if page:
        response = WarcRecord()
        response.init_headers(WarcRecordType.response)
        response.set_bytes_content(content)
        response.is_http = True
        limit = place.settings.max_document_bytes
        try:
            response.parse_http(auto_decode="all")
            content = response.reader.read(limit + 1)
        except OSError as error:
            place.reject(number, f"broken HTTP response: {error}", content)
            return
        if len(content) > limit:
            place.too_long(number, content)
            return
        headers = response.http_headers
        if headers is None or headers.status_code != 200 or response.http_content_type not in _HTML:
            place.note("responses that are no pages", 1)
            return
        charset = response.http_charset
    if content and (text := decoded(content, place, number, charset)):
        yield Record(number, text, address, html=page)
