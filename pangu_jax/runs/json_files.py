"""JSON files of a run directory: absent is empty, damaged is one line."""

import json
from pathlib import Path
from typing import TypeVar

from pangu_jax.errors import UserError

Json = TypeVar("Json", dict, list)


def read_json(path: Path, empty: Json) -> Json:
    """The JSON in a file; `empty` when there is no file.

    Raises:
      UserError: it is no JSON, or of another type than `empty`.
    """
    if not path.is_file():
        return empty
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        value = None
    if not isinstance(value, type(empty)):
        kind = "object" if isinstance(empty, dict) else "list"
        raise UserError(f"{path} is damaged: no JSON {kind}; fix or delete it")
    return value
