"""A line of JSON from a stranger."""

import json
from typing import Any


def loads(line: str) -> Any:
    """The value of a line. ValueError, in words that name no position, for whatever is wrong with it."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deeply, or too long a number")
        raise ValueError(f"malformed JSON: {reason}") from None
