"""A folder that is there whole or not at all."""

import itertools
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pangu_jax.errors import UserError


@contextmanager
def made(folder: Path, flag: str, overwrite: bool = False) -> Generator[Path]:
    """A folder to fill beside `folder`, which takes its name when the context ends without an error.

    Args:
      folder: what is to be made; it may be there, empty.
      flag: the flag that named it, for messages.
      overwrite: whether one that is there is replaced; it stays until the new one is whole.
    Raises:
      UserError: it is there with something in it, or the disk refuses.
    """
    if not overwrite:
        require_empty(folder, flag)
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of one that was stopped
        partial.mkdir(parents=True)
        yield partial
        if overwrite and folder.is_dir():
            _replace(folder, partial)
        else:
            partial.rename(folder)
    except OSError as error:
        raise UserError(
            f"{flag} {folder}: {(error.strerror or str(error)).lower()}; free the disk or name another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(folder: Path, new: Path) -> None:
    """`new` under the name of `folder`, which is gone then, or there as it was."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as aside:
        old = folder.rename(Path(aside, folder.name))
        try:
            new.rename(folder)
        except OSError:
            old.rename(folder)
            raise


def aside(folder: Path, why: str) -> Path:
    """A name beside `folder` that nothing has yet, such as `model.refused` or `model.refused-2`."""
    names = (folder.with_name(f"{folder.name}.{why}{f'-{n}' if n > 1 else ''}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())


def require_empty(folder: Path, flag: str) -> None:
    """UserError where `folder` is a file, or holds anything."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{flag} {folder} is there and not empty; name a new folder")
