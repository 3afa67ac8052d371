"""What every format says of a model before a tensor is read, and what they have in common."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from pangu_jax.errors import UserError
from pangu_jax.runs.exchange.parts import ForeignTensor, Shape, by
from pangu_jax.runs.exchange.tensors import Tensors
from pangu_jax.workloads.vision.model import grids
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.plain import PlainConfig

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5,), (0.5,)
NOT_OF_CLIP = {
    "quick": False,
    "patch_bias": True,
    "first_norm": False,
}  # of `PlainConfig`, in all formats here
Made = TypeVar("Made")


class Asked(NamedTuple):
    """What a person adds to what a file says.

    Attributes:
      heads: of attention, where nothing there says it.
      size: pixels of a picture's side; those of the file where None.
    """

    heads: int | None = None
    size: int | None = None


class ImportableModel(NamedTuple):
    """A model that was found fit to be imported; no tensor has been read.

    Attributes:
      kind: what it is, in words.
      config: its shape.
      table: its tensors.
      tensors: where they are.
      kept: what an export needs to give back what was there, for the manifest.
      notes: what a person should know, a line each.
      tables: arrays of ours, by path, that a formula gives and no file holds.
      pixels: mean and deviation that are to become part of the first product, where the configuration has no
        place for them.
    """

    kind: str
    config: PlainConfig | HierarchicalConfig
    table: tuple[ForeignTensor, ...]
    tensors: Tensors
    kept: dict[str, Any]
    notes: tuple[str, ...] = ()
    tables: Mapping[str, Any] = {}
    pixels: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def shape(tensors: Tensors, name: str, dimensions: int) -> Shape:
    """Of a tensor that tells sizes; UserError where it is missing or has another number of dimensions."""
    found = tensors.shapes.get(name)
    if found is None:
        raise UserError(f"{tensors.folder}: {name} is missing: it is no such model, or a file was not copied")
    if len(found) != dimensions or 0 in found:
        raise UserError(f"{tensors.folder}: {name} is {by(found)} instead of {dimensions} sizes")
    return found


def side(tensors: Tensors, name: str, places: int, tokens: int) -> tuple[int, int]:
    """Positions of a square's side, and how many more there are for class tokens.

    A count is a square or it is not: 196 are 14 x 14 and never 195 and a class token.

    Args:
      tensors: for messages.
      name: of the positions.
      places: how many there are.
      tokens: class tokens that the model has.
    """
    for more in (tokens, 0):
        found = grids.square(places - more) if places > more else None
        if found:
            return found, more
    beside = " and one for the class token" if tokens else ""
    raise UserError(
        f"{tensors.folder}: {name} holds {places} positions, which are no square{beside}: only square "
        "pictures are read"
    )


def count(tensors: Tensors, pattern: str) -> int:
    """Layers by the numbers in names, of which none may be left out."""
    found = {int(hit[1]) for name in tensors.shapes if (hit := re.match(pattern, name))}
    if found != set(range(len(found))) or not found:
        raise UserError(f"{tensors.folder}: of its layers it holds {sorted(found)[:9]}; copy all files of it")
    return len(found)


def heads(tensors: Tensors, asked: int | None, known: Any) -> int:
    """Those that were asked for, or that the file says; UserError where neither is a number."""
    found = asked or known
    if type(found) is not int or found < 1:
        raise UserError(
            f"{tensors.folder}: nothing in it says how many heads attention has; give them with --heads"
        )
    return found


def config(tensors: Tensors, make: Callable[[], Made]) -> Made:
    """What `make` makes, where sizes fit each other; UserError where they do not."""
    try:
        return make()
    except ValueError as error:
        raise UserError(f"{tensors.folder}: {error}") from None


def said(names: Iterable[str], what: str) -> tuple[str, ...]:
    """A note of tensors that are left out, none where none are."""
    found = sorted(names)
    more = ", ..." if len(found) > 3 else ""
    return (f"left out, {what}: {len(found)} tensors ({', '.join(found[:3])}{more})",) if found else ()
