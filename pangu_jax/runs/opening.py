"""The one way into a finished run: its recipe, its workload without the data, its parameters on devices.

    with opening.find("runs/quickstart") as found:        # the newest sound checkpoint
        described = opening.describe(found)               # recipe, workload, layout: no array is read yet
        run = opening.restore(found, described)           # run.variables, run.workload, run.spread, ...

`open_run` is the three in one. Nothing in the run directory is changed: a run can be opened in mid-training.
"""

import dataclasses
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from pangu_jax import recipes
from pangu_jax.errors import OtherFamilyError, UserError
from pangu_jax.parallel import rules
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.rules import LogicalAxes
from pangu_jax.recipes import Recipe, Reference
from pangu_jax.recipes.findings import COMMAND_LINE
from pangu_jax.recipes.functions import TRAIN
from pangu_jax.recipes.signatures import look_up
from pangu_jax.runs import found_checkpoint, inference_layout
from pangu_jax.runs.found_checkpoint import FoundCheckpoint
from pangu_jax.runs.inference_layout import ANY, Devices, Spread
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads import NOTHING, Tree, Variables, Workload
from tpu_npu_backends.selection import Backend

LAYOUT = Reference("", "Layout", True)


@dataclasses.dataclass(frozen=True)
class Found(FoundCheckpoint):
    """A run with a checkpoint that can be used, and where; no array is read yet.

    Attributes:
      devices: where it is to be opened.
      backend: those devices.
    """

    devices: Devices
    backend: Backend


class RunDescription(NamedTuple):
    """What a run is, before its parameters are read.

    Attributes:
      recipe: what it was trained by.
      workload: its model family, without the data.
      spread: the devices it is opened on, and how a forward pass uses them.
    """

    recipe: Recipe
    workload: Workload
    spread: Spread


class OpenedRun(NamedTuple):
    """A run that can be used.

    Attributes:
      directory: the run.
      recipe: what it was trained by.
      workload: its model family, without the data.
      spread: the devices it is opened on, and how a forward pass uses them.
      variables: its parameters, extra state and constants, as `spread` keeps them.
      manifest: what its checkpoint says of itself (step, recipe, fingerprint, ...).
    """

    directory: RunDirectory
    recipe: Recipe
    workload: Workload
    spread: Spread
    variables: Variables
    manifest: dict[str, Any]


def open_run(
    run_dir: str | Path,
    step: int | None = None,
    devices: Devices = ANY,
    *,
    family: str | None = None,
    float32: bool = False,
) -> OpenedRun:
    """The model of a run directory, ready to be used.

    Args:
      run_dir: the run.
      step: the checkpoint; the newest sound one when None.
      devices: where; see `inference_layout.Devices`.
      family: the model family that the caller can use; any when None.
      float32: keep parameters in fp32 to continue training them; else matrices have the dtype of products.

    Raises:
      UserError, DataError, BackendError: there is no such run, checkpoint or device, the run is of another
        family, or the layout does not fit.
    """
    with find(run_dir, step, devices) as found:
        return restore(found, describe(found, family), float32=float32)


@contextmanager
def find(run_dir: str | Path, step: int | None = None, devices: Devices = ANY) -> Generator[Found]:
    """The checkpoint of a run to be used, as `found_checkpoint.find`, on the devices that are asked for.

    Raises:
      UserError, BackendError: as `open_run`.
    """
    directory = found_checkpoint.require_run(run_dir)
    backend = devices.select()
    with found_checkpoint.find(directory, step) as stored:
        yield Found(**vars(stored), devices=devices, backend=backend)


def describe(found: Found, family: str | None = None) -> RunDescription:
    """What a run is, by its recipe; of its files no array is read.

    Raises:
      UserError: as `open_run`.
    """
    layout = found.devices.layout
    recipe = recipe_of(found.directory, () if isinstance(layout, Layout) else layout)
    workload = workload_of(recipe, found.directory, family)
    return RunDescription(recipe, workload, spread(found, recipe, workload.dimensions()))


def restore(found: Found, described: RunDescription, *, float32: bool = False, times: int = 1) -> OpenedRun:
    """The run with its variables, which are refused unread where memory has no room for them `times` over.

    Raises:
      UserError: as `open_run`.
    """
    workload, spread = described.workload, described.spread
    wanted = abstract_variables(workload, spread, jnp.float32 if float32 else spread.run.dtype)
    variables, manifest = found.variables(wanted, workload.fingerprint(), times)
    variables = variables._replace(constants=_constants(workload, wanted, spread))
    return OpenedRun(found.directory, *described, variables, manifest)


def abstract_variables(workload: Workload, spread: Spread, dtype: DTypeLike) -> Variables:
    """Shapes, dtypes and shardings of a run's variables.

    As in a train step, parameters that are gathered to be multiplied are of the dtype of products; norms,
    biases and extra state stay as they are.
    """
    shapes = jax.eval_shape(workload.start, jax.random.key(0), workload.given())
    axes = workload.logical_axes()

    def leaf(axes: LogicalAxes, shape: jax.ShapeDtypeStruct, sharding) -> jax.ShapeDtypeStruct:
        return shape.update(sharding=sharding)

    def param(axes: LogicalAxes, shape: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        rounded = "embed" in axes and shape.dtype == jnp.float32
        return shape.update(dtype=dtype) if rounded else shape

    placed = jax.tree.map(leaf, axes, shapes, spread.shardings(axes), is_leaf=rules.is_axes)
    return placed._replace(params=jax.tree.map(param, axes.params, placed.params, is_leaf=rules.is_axes))


def _constants(workload: Workload, wanted: Variables, spread: Spread) -> Tree:
    """What no checkpoint holds, such as a base that lies in another run directory."""
    if not jax.tree.leaves(wanted.constants):
        return NOTHING
    shardings = jax.tree.map(lambda leaf: leaf.sharding, wanted.constants)
    make = jax.jit(lambda key, given: workload.start(key, given).constants, out_shardings=shardings)
    return make(jax.random.key(0), workload.restore_given(spread.shardings(workload.given_axes())))


def spread(found: Found, recipe: Recipe | None, dimensions: Mapping[str, int]) -> Spread:
    """How a model of these dimensions is spread: as the caller asks, or as the run was in training.

    Args:
      found: the run.
      recipe: its recipe; None where that has no layout, and the mesh of its checkpoint says how it was.
      dimensions: the model's sizes by logical axis.

    Raises:
      UserError: the layout that the caller asks for does not fit.
    """
    asked = found.devices.layout
    own = asked if isinstance(asked, Layout) else _own_layout(found, recipe or _checked([], asked))
    return inference_layout.spread(
        found.backend, own, dimensions, str(found.directory.path), required=bool(asked)
    )


def _own_layout(found: Found, recipe: Recipe) -> Layout:
    """The recipe's; that of the mesh trained on where there is no recipe, or it left that to the planner."""
    reference = recipe.arguments(TRAIN).get("layout")
    if recipe.files and reference != "auto":
        return recipes.make(recipe, reference or LAYOUT)
    bound = recipe.bound_parameters(look_up(LAYOUT.selector).selector)
    changes = {name: value for name, value in recipe.arguments(LAYOUT).items() if name in bound}
    return dataclasses.replace(inference_layout.of_mesh(found.manifest.get("mesh", {})), **changes)


def recipe_of(directory: RunDirectory, bindings: tuple[str, ...] = ()) -> Recipe:
    """A run's recipe, with the caller's bindings over it.

    Raises:
      UserError: the run has none, or a binding names nothing or has a value of another type.
    """
    if not directory.recipe.is_file():
        raise UserError(f"{directory.path} has no recipe.gin, which says what model it is; bring it back")
    return _checked([directory.recipe], bindings)


def _checked(files: Sequence[Path], bindings: tuple[str, ...]) -> Recipe:
    """UserError where a binding names nothing or has a value of another type."""
    recipe = recipes.load(files, bindings, function=TRAIN)
    wrong = [finding for finding in recipes.check_values(recipe) if finding.where.file == COMMAND_LINE]
    if wrong:
        raise UserError("\n".join(map(str, wrong)))
    return recipe


def require_family(run_dir: str | Path, family: str) -> None:
    """OtherFamilyError where a run is of another, before a recipe's data are made that it has no use for.

    A run without a recipe passes: that is told when it is opened.

    Raises:
      UserError: as `workload_of`.
    """
    directory = RunDirectory(run_dir)
    if directory.recipe.is_file():
        _workload_class(recipes.load([directory.recipe], function=TRAIN), directory, family)


def workload_of(recipe: Recipe, directory: RunDirectory, family: str | None = None) -> Workload:
    """What a run trained, by its workload's class, without its data where it can be without; no device is
    touched.

    Raises:
      UserError: the recipe names none, its files are damaged, or it is of another family.
    """
    made_by, reference = _workload_class(recipe, directory, family)
    try:
        return made_by.from_run(recipe, reference, directory.path)
    except (TypeError, ValueError) as error:
        raise UserError(f"{directory.recipe}: {error}") from None


def with_data(run: OpenedRun) -> Workload:
    """The workload of an opened run once more, with its data.

    Raises:
      UserError, DataError: the recipe's data is not there.
    """
    made_by, reference = _workload_class(run.recipe, run.directory, None)
    with recipes.plain_errors():
        return made_by.with_data(run.recipe, reference, run.directory.path)


def _workload_class(recipe: Recipe, directory: RunDirectory, family: str | None) -> tuple[Any, Reference]:
    reference = recipe.arguments(TRAIN).get("workload")
    if not isinstance(reference, Reference) or not reference.evaluate:
        raise UserError(f"{directory.recipe} names no train.workload: it is not the recipe of a run")
    try:
        made_by: Any = look_up(reference.selector).target
    except LookupError as error:
        why = "; ".join(map(str, recipe.findings[:1])) or error
        raise UserError(f"{directory.recipe}: train.workload = {reference!r}: {why}") from None
    name = getattr(made_by, "name", reference.selector)
    if family is not None and name != family:
        raise OtherFamilyError(
            f"{directory.path} is a run of the family {name!r}, and this is for one of {family!r}", name
        )
    return made_by, reference
