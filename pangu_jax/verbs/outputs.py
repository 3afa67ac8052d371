"""Files that a verb is asked to write."""

from pathlib import Path

from pangu_jax.errors import UserError


def require_writable(path: str | Path, flag: str) -> None:
    """Asked before the work begins: hours of it should not end with a typo in a path.

    Raises:
      UserError: it cannot be written; `flag` is what named it.
    """
    path = Path(path)
    existed = path.exists()
    try:
        path.open("a").close()
    except OSError as error:
        hint = "name a file that can be written" + (", or -" if flag == "--json" else "")
        raise UserError(f"{flag} {path}: {error.strerror}; {hint}") from None
    if not existed:
        path.unlink(missing_ok=True)  # another process of the run may have asked too
