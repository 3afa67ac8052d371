"""What a person adds to weights of weather, and what is known of them before a tensor is read."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.fields.field_set import FieldSet, fields
from data_pipelines.fields.statistics import Statistics, moments
from pangu_jax.errors import UserError
from pangu_jax.runs.exchange.parts import ForeignTensor, Shape, by
from pangu_jax.workloads.science.data import NoFields
from pangu_jax.workloads.science.model.earth import EarthConfig

PAIRS = 256  # of states, on which the change over a lead is counted
Window = tuple[int, int, int]


class AskedFields(NamedTuple):
    """Of what states the weights are: nothing in them says it.

    Attributes:
      store: a store of fields: grid, levels, constants, and statistics unless weights bring theirs.
      lead_hours: of one step.
      upper: variables on levels in the order of channels; all of the store, or those published, when None.
      surface: on the surface, likewise.
      window: of levels, latitudes and longitudes, where several fit the weights.
      statistics: a folder with the numbers that are beside the released weights.
    """

    store: Path
    lead_hours: int
    upper: tuple[str, ...] | None = None
    surface: tuple[str, ...] | None = None
    window: Window | None = None
    statistics: Path | None = None


class ImportableForecast(NamedTuple):
    """Weights that were found fit to be imported; no tensor has been read.

    Attributes:
      kind: what they are, in words.
      config: their shape.
      table: their tensors.
      tensors: where they are.
      data: what is kept of the fields.
      chosen: of the function `fields`, for the recipe.
      kept: what an export needs to give back what was there, for the manifest.
      notes: what a person should know, a line each.
    """

    kind: str
    config: EarthConfig
    table: tuple[ForeignTensor, ...]
    tensors: Any
    data: NoFields
    chosen: dict[str, Any]
    kept: Mapping[str, Any] = MappingProxyType({})
    notes: tuple[str, ...] = ()


def opened(asked: AskedFields, **chosen: Any) -> tuple[FieldSet, dict[str, Any]]:
    """The store's fields, and what of `fields` is not its default.

    Args:
      asked: the store and the lead.
      chosen: upper, surface or levels that the weights have; those that were asked for otherwise.
    Raises:
      DataError: there is no such store, or something that is chosen is not in it.
    """
    given: dict[str, Any] = {"upper": asked.upper, "surface": asked.surface} | chosen
    given = {name: value for name, value in given.items() if value is not None}
    given |= {"path": str(asked.store.absolute()), "lead_hours": asked.lead_hours}
    return fields(**given), given


def kept_of(data: FieldSet) -> NoFields:
    """What a run keeps of its fields.

    Raises:
      DataError: no state has one a lead later: the change over a lead cannot be counted.
    """
    return NoFields(
        data.grid, data.names, data.lead_hours, 1, data.statistics, _change(data), data.constants_HxWxK
    )


def _change(data: FieldSet) -> Statistics:
    starts_N = data.starts_N
    chosen = starts_N[np.linspace(0, len(starts_N) - 1, min(PAIRS, len(starts_N))).astype(int)]
    total = moments(partial(data.store.changes, data.lead_hours), chosen.tolist())
    return Statistics.of(total, data.grid.shape[0], len(data.names.upper))


def config_of(where: Path, data: FieldSet, **shape: Any) -> EarthConfig:
    """A configuration on the grid of a store; UserError where it contradicts itself."""
    levels, latitude, longitude = data.grid.shape
    of_fields = {"levels": levels, "latitude": latitude, "longitude": longitude}
    try:
        return EarthConfig(**of_fields, periodic=data.grid.periodic, **shape)
    except ValueError as error:
        raise UserError(f"{where} does not fit the grid of {data.path}: {error}") from None


def shape(tensors: Any, name: str, dimensions: int) -> Shape:
    """Of a tensor that tells sizes; UserError where it is missing or has another number of dimensions."""
    found = tensors.shapes.get(name)
    if found is None:
        raise UserError(f"{tensors.folder}: {name} is missing: it is no such model, or a file was not copied")
    if len(found) != dimensions or 0 in found:
        raise UserError(f"{tensors.folder}: {name} is {by(found)} instead of {dimensions} sizes")
    return found


def require_channels(where: Path, found: dict[str, tuple[int, int]], store: Path) -> None:
    """UserError unless weights and store have as many of each.

    Args:
      where: the weights.
      found: what -> how many the weights have, and how many the store.
    """
    for what, (theirs, ours) in found.items():
        if theirs != ours:
            raise UserError(
                f"{where} has {theirs} {what}, and {store} {ours}: choose them in its order by --upper and "
                "--surface, or name the store that it was trained on"
            )


def numbers(folder: Path, name: str, shape: Shape) -> np.ndarray:
    """An array of a .npy file, float64; UserError where it is missing, damaged or of another shape."""
    try:
        found = np.load(folder / name, allow_pickle=False)
        array = found.astype(np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"--statistics {folder}: {name} is missing or damaged ({str(error)[:80]})") from None
    if array.size != np.prod(shape) or not np.isfinite(array).all():
        raise UserError(
            f"--statistics {folder}: {name} is {by(found.shape)} instead of {by(shape)} finite numbers"
        )
    return array.reshape(shape)
