"""JSON beside the weights of other libraries: what is missing or damaged is one line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pangu_jax.errors import UserError

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
Numbers = tuple[float, ...]


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


def size(theirs: Mapping[str, Any], name: str, default: int, where: str) -> int:
    """An entry that is a size, or both equal sides of a square; UserError, naming `where`, for another."""
    value = theirs.get(name, default)
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    if type(value) is not int or value < 1:
        more = ": only squares are read" if isinstance(value, list) else ""
        raise UserError(f"{where}: {name} is {value!r} instead of a size{more}")
    return value


def epsilon(theirs: Mapping[str, Any], name: str, default: float, where: str) -> float:
    """An entry that is a number above 0; UserError, naming `where`, for another."""
    value = theirs.get(name, default)
    if type(value) not in (int, float) or not value > 0:
        raise UserError(f"{where}: {name} is {value!r} instead of a small number")
    return float(value)


def numbers(theirs: Mapping[str, Any], name: str, default: Numbers, where: str) -> Numbers:
    """An entry that is a list of numbers; UserError, naming `where`, for another."""
    value = theirs.get(name)
    if value is None:
        return default
    if not isinstance(value, list) or not all(type(number) in (int, float) for number in value):
        raise UserError(f"{where}: {name} is {value!r} instead of numbers; copy the file again")
    return tuple(map(float, value))


def pixels(folder: Path, default: tuple[Numbers, Numbers]) -> tuple[Numbers, Numbers, tuple[str, ...]]:
    """How transformers normalises pixels: mean, deviation, and what is to be said of that.

    Args:
      folder: with preprocessor_config.json, or processor_config.json as version 5 writes it of a model of
        pictures and texts.
      default: of the model, where nothing says otherwise.
    """
    file = folder / PREPROCESSOR
    if file.is_file():
        theirs = entries(file)
    elif (file := folder / PROCESSOR).is_file() and "image_processor" in (both := entries(file)):
        theirs = both["image_processor"]
        if not isinstance(theirs, dict):
            raise UserError(f"{file}: image_processor is no object; copy it again")
    else:
        said = " and ".join(",".join(f"{value:g}".lstrip("0") for value in each) for each in default)
        return *default, (f"no {PREPROCESSOR}: pixels are normalised by {said}, its default",)
    if theirs.get("do_normalize") is False:
        return (0.0,), (1.0,), ()
    mean, deviation = default
    mean = numbers(theirs, "image_mean", mean, str(file))
    return mean, numbers(theirs, "image_std", deviation, str(file)), ()
