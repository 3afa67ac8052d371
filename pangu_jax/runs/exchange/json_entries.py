"""JSON beside the weights of other libraries: what is missing or damaged is one line."""

import json
from pathlib import Path
from typing import Any

from pangu_jax.errors import UserError


def entries(file: Path) -> dict[str, Any]:
    """The entries of a JSON file.

    Raises:
      UserError: it cannot be read, or holds no entries.
    """
    try:
        theirs = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; give the folder of a saved model") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON ({str(error)[:80]}); copy it again") from None
    if not isinstance(theirs, dict):
        raise UserError(f"{file} is no JSON object; copy it again")
    return theirs
