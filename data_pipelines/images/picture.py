"""A picture as a source has it, and the names of the columns that a table has it under."""

from typing import NamedTuple

from data_pipelines.errors import DataError

LARGEST = 256 * 2**20  # bytes of one picture's file
TOO_LARGE = "files too large"  # why one was passed over


class PictureFile(NamedTuple):
    """A picture that is not decoded yet.

    Attributes:
      name: no other picture's of the source: `cats/1.jpg`, `a.tar:cats/1.jpg`, `train.parquet:17`.
      data: the file's bytes.
      label: its class by name; None where the source tells none.
      group: what must stay on one side of a split, such as one flight or one patient; None where it is alone.
      side: "train" or "validation", where the source is split already; None where it is not.
    """

    name: str
    data: bytes
    label: str | None = None
    group: str | None = None
    side: str | None = None


class BrokenSource(DataError):
    """An archive or a table that cannot be read, or not to its end."""


class Fields(NamedTuple):
    """Columns of a table; those that are None are looked for under their usual names.

    Attributes:
      image: bytes, {bytes, path}, or paths.
      label: a number or a name.
      group: anything that is equal for pictures that belong together.
    """

    image: str | None = None
    label: str | None = None
    group: str | None = None
