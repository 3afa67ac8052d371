"""From a model of vision of another library to a run directory: its recipe and a checkpoint of step 0."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pangu_jax import recipes
from pangu_jax.apps.vision.conversion import big_vision, hugging_face, timm_config, torch_pretrained
from pangu_jax.apps.vision.conversion.source import Asked, ImportableModel
from pangu_jax.errors import UserError
from pangu_jax.recipes import functions
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.exchange import folders, parts
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads.vision.model import grids
from pangu_jax.workloads.vision.model.pixels import DEVIATION, MEAN
from pangu_jax.workloads.vision.model.plain import PlainConfig

KEY = "imported"  # of the manifest: what an export needs to give back what was there
POSITIONS = "trunk/positions"
MODES = {1: "L", 3: "RGB"}
FORMATS: dict[str, Callable[[Path, Asked], ImportableModel]] = {
    "timm": timm_config.examine,
    "hf": hugging_face.examine,
    "big_vision": big_vision.examine,
    "pth": torch_pretrained.examine,
}

RECIPE = """\
import data_pipelines.images.images
import pangu_jax.workloads.vision

train.workload = @VisionModel()
train.optimizer = @adamw()
train.steps = 1000
train.batch_size = 64
VisionModel.model = @{name}()
VisionModel.data = @images()
VisionModel.objectives = []
images.path = ''
images.size = {size}
images.mode = {mode!r}
{model}
"""


def import_vision(
    name: str, source: str | Path, run_dir: str | Path, heads: int | None = None, size: int | None = None
) -> dict[str, Any]:
    """Make a run directory of a plain vision transformer or a HiViT.

    Parameters keep their dtype. Positions are resized where `size` is not theirs, as timm does it.

    Args:
      name: of the format, one of `FORMATS`.
      source: a folder of timm or transformers, an .npz of big_vision, or a .pth of MAE or HiViT.
      run_dir: a new folder; there whole or not at all.
      heads: of attention, where nothing in the source says it.
      size: pixels of a picture's side; the source's unless given.
    Returns:
      {"run_dir", "kind", "parameters", "bytes", "dtypes", "size", "classes", "notes"}.
    Raises:
      UserError: the source is no such model, or `run_dir` is taken.
    """
    source, run_dir = Path(source), Path(run_dir).absolute()
    folders.require_empty(run_dir, "--run_dir")
    if not source.exists():
        raise UserError(f"there is no {source}; name a folder or file of a saved model")
    found = FORMATS[name](source, Asked(heads, size))
    parts.require_same(found.tensors, found.table, f"a {found.kind} of its sizes")
    config, notes = _resized(found, size)
    with folders.made(run_dir, "--run_dir") as partial:
        directory = RunDirectory(partial)
        recipe = _recipe(config, directory)
        params = _read(found, config)
        kept = {"format": name, "dtypes": _dtypes(found), **found.kept}
        manifest = {"recipe": recipe, KEY: kept}
        with Checkpoints(directory.checkpoints) as checkpoints:
            checkpoints.save(0, {"params": params}, manifest)
        leaves = jax.tree.leaves(params)
    return {
        "run_dir": str(run_dir),
        "kind": found.kind,
        "parameters": sum(leaf.size for leaf in leaves),
        "bytes": sum(leaf.nbytes for leaf in leaves),
        "dtypes": sorted({found.tensors.dtypes[each.name] for each in found.table}),
        "size": config.size,
        "classes": getattr(config, "classes", 0),
        "notes": [*found.notes, *notes],
    }


def model_type(source: str | Path) -> str | None:
    """`model_type` of a folder's config.json; None where it says none."""
    try:
        found = json.loads((Path(source) / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found.get("model_type") if isinstance(found, dict) else None


def _resized(found: ImportableModel, size: int | None) -> tuple[Any, tuple[str, ...]]:
    """The configuration at the size that is asked for, and what is to be said of that."""
    config = found.config
    if config.channels not in MODES:
        raise UserError(f"{found.tensors.folder}: pictures of {config.channels} channels: 1 or 3 are read")
    if size is None or size == config.size:
        return config, ()
    try:
        made = dataclasses.replace(config, size=size)
    except ValueError as error:
        raise UserError(f"--size {size}: {error}") from None
    return made, (f"positions resized from {config.grid} x {config.grid} to {made.grid} x {made.grid}",)


def _read(found: ImportableModel, config: Any) -> parts.Tree:
    """Our parameters, of the dtypes that are there."""
    shapes = parts.by_path(jax.eval_shape(found.config.init, jax.random.key(0)))
    shapes = {path: leaf.shape for path, leaf in shapes.items()}
    arrays: dict[str, Any] = {**parts.read(found.tensors, found.table, shapes), **found.tables}
    if config.grid != found.config.grid:
        arrays[POSITIONS] = grids.resized(arrays[POSITIONS], config.grid, config.grid)
    if found.pixels is not None:
        _fold(arrays, *found.pixels)
    return parts.nested({path: jax.device_put(array) for path, array in arrays.items()})


def _fold(arrays: dict[str, Any], mean: Sequence[float], deviation: Sequence[float]) -> None:
    """Let the stem take pixels as `centred` gives them, and make of them what it did of theirs."""
    stem_PxD = arrays["trunk/stem"].astype(np.float64).reshape(-1, len(mean), arrays["trunk/stem"].shape[1])
    factor_C, shift_C = DEVIATION / np.array(deviation), (MEAN - np.array(mean)) / np.array(deviation)
    bias_D = arrays["trunk/stem_bias"] + np.einsum("pcd,c->d", stem_PxD, shift_C)
    stem = (stem_PxD * factor_C[:, None]).reshape(arrays["trunk/stem"].shape)
    for path, made in (("trunk/stem", stem), ("trunk/stem_bias", bias_D)):
        arrays[path] = made.astype(arrays[path].dtype)


def _dtypes(found: ImportableModel) -> dict[str, str]:
    """Their dtypes, where they are not fp32."""
    names = (each.name for each in found.table)
    return {name: dtype for name in names if (dtype := found.tensors.dtypes[name]) != "F32"}


def _recipe(config: Any, directory: RunDirectory) -> str:
    """The resolved recipe, written to the run directory."""
    name = "VisionTransformer" if isinstance(config, PlainConfig) else "HierarchicalTransformer"
    model = "\n".join(f"{name}.{field} = {value!r}" for field, value in vars(config).items())
    text = RECIPE.format(name=name, size=config.size, mode=MODES[config.channels], model=model)
    directory.write_recipe(text)
    recipe = recipes.load([directory.recipe], function=functions.TRAIN)
    recipes.require_valid(recipe)
    text = recipes.dump(recipe)
    directory.write_recipe(text)
    return text
