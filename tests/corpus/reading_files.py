"""Files for the tests of reading."""

import bz2
import functools
import gzip
import json
import lzma

import zstandard

from data_pipelines.corpus import frames
from data_pipelines.corpus.reading import inputs, reader, units
from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.corpus.reading.settings import Reading

COMPRESS = {
    ".gz": gzip.compress,
    ".xz": functools.partial(lzma.compress, preset=0),
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
}


def read(*given, **settings):
    """(documents as {id: text}, chunks, quarantine) of everything under the inputs."""
    settings, quarantine = Reading(**settings), Quarantine()
    work = units.divide(inputs.find([str(path) for path in given]), settings)
    chunks = [chunk for unit in work for chunk in reader.read(unit, settings, quarantine)]
    for chunk in chunks:
        assert chunk.schema == frames.SCHEMA
    rows = [row for chunk in chunks for row in chunk.select("id", "text").iter_rows()]
    documents = dict(rows)
    assert len(documents) == len(rows)
    return documents, chunks, quarantine


def json_lines(*records) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def warc(*records) -> bytes:
    """A WARC file of (type, address, block) records."""
    out = b""
    for kind, address, block in records:
        head = (
            f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {address}\r\nContent-Length: {len(block)}\r\n"
        )
        out += head.encode() + b"\r\n" + block + b"\r\n\r\n"
    return out


def response(body: bytes, headers: str = "Content-Type: text/html", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}\r\n\r\n".encode() + body
