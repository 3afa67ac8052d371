"""Folders that a verb fills anew: whole, or as they were."""

import contextlib
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from pangu_jax.errors import UserError


@contextlib.contextmanager
def replacing(out: Path, marker: str) -> Generator[Path]:
    """A new folder beside `out`, which takes its place when the body has ended well.

    Asked before the body runs, which may take minutes: whether `out` may be replaced at all.

    Args:
      out: may be missing, empty, or what an earlier call wrote.
      marker: a file that every call writes into it, by which that is known.

    Raises:
      UserError: there is something else, or it cannot be written.
    """
    out = out.absolute()
    try:
        if out.exists() and not out.is_dir():
            raise UserError(f"--out {out} is a file; name a folder")
        if out.is_dir() and any(out.iterdir()) and not (out / marker).is_file():
            raise UserError(f"--out {out} holds something else than an earlier result; name a new folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}; name a folder that can be written") from None
    try:
        fresh = beside / "new"
        fresh.mkdir()
        yield fresh
        if out.is_dir():
            out.replace(beside / "old")
        fresh.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
