"""Files that a verb is asked to write."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.result import Result


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


def of_texts(rows: Sequence[Mapping[str, Any]], out: str | None) -> Result:
    """Rows with a "text" each: their texts to be printed, or all of them as JSON lines in the file `out`."""
    if out is None:
        return Result(rows, "\n".join(row["text"] for row in rows))
    with Path(out).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return Result(rows, f"{len(rows)} texts in {out}")
