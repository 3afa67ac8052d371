"""The settings of reading."""

import dataclasses

import gin

from data_pipelines.corpus.reading.compression import MAX_RATIO
from data_pipelines.errors import DataError

UNITS = ("file", "paragraph", "line")


@gin.configurable
@dataclasses.dataclass(frozen=True)
class Reading:
    """How documents are read from files.

    Attributes:
      text_field: field of a .jsonl line, or column of a .csv or Parquet file, that holds the text.
      url_field: field or column that holds the address, where there is one.
      source_field: field or column that names the source of a document; None: the source is the file's.
      unit: what one document of a .txt is: "file", "paragraph" (up to a blank line) or "line".
      unit_bytes: what one worker reads at a time: smaller files go together, a larger plain .jsonl (or .txt
        by lines) is cut. Compressed files count four times.
      chunk_bytes: UTF-8 bytes of text of a chunk, which every later stage holds in memory.
      max_document_bytes: a longer line, page, record or document is quarantined.
      max_ratio: a compressed file that grows to more times its size (and to 64 MiB) is a bomb.
      max_bad: a document with a larger share of control characters and undecodable bytes is no text.
      max_page_tags: a page of HTML with more tags is quarantined: nested ones cost their number squared.
      site_pages: pages of one site, in one chunk, from which on repeated lines are looked for.
      site_share: a line that is on more than this share of a site's pages is boilerplate, and dropped.
    """

    text_field: str = "text"
    url_field: str = "url"
    source_field: str | None = None
    unit: str = "file"
    unit_bytes: int = 64 * 2**20
    chunk_bytes: int = 32 * 2**20
    max_document_bytes: int = 16 * 2**20
    max_ratio: float = MAX_RATIO
    max_bad: float = 0.02
    max_page_tags: int = 50_000
    site_pages: int = 20
    site_share: float = 0.5

    def __post_init__(self):
        if self.unit not in UNITS:
            raise DataError(f"Reading.unit: {self.unit!r} is not one of {', '.join(UNITS)}")
        for name in ("unit_bytes", "chunk_bytes", "max_document_bytes", "max_page_tags", "site_pages"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise DataError(f"Reading.{name}: {value!r} is not a whole number from 1 on")
        for name in ("max_bad", "site_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"Reading.{name}: {getattr(self, name)!r} is not a share from 0 to 1")
        if self.max_ratio < 1:
            raise DataError(f"Reading.max_ratio: {self.max_ratio!r} is below 1")
        if not self.text_field:
            raise DataError("Reading.text_field: give the name of the field that holds the text")
