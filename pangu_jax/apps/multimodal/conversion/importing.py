"""From transformers' ChineseCLIPModel or SiglipModel to a run directory: recipe, vocabulary, and step 0."""

import dataclasses
from pathlib import Path
from typing import Any

import jax

from pangu_jax import recipes
from pangu_jax.apps.multimodal.conversion import hugging_face, vocabularies
from pangu_jax.apps.multimodal.conversion.hugging_face import KINDS, ImportableTowers
from pangu_jax.errors import UserError
from pangu_jax.recipes import functions
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.exchange import folders, parts
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads.multimodal import stored_pairs
from pangu_jax.workloads.multimodal.data import NoPairs
from pangu_jax.workloads.multimodal.model.image_text import ImageTextConfig

KEY = "imported"  # of the manifest: what an export needs to give back what was there
MODES = {1: "L", 3: "RGB"}
MODEL_TYPES = tuple(KINDS)

RECIPE = """\
import data_pipelines.pairs.pairs
import data_pipelines.pairs.vocabularies
import pangu_jax.workloads.multimodal
import pangu_jax.workloads.vision

train.workload = @ImageTextModel()
train.optimizer = @adamw()
train.steps = 1000
train.batch_size = 64
ImageTextModel.image = @VisionTransformer()
ImageTextModel.text = @TextTransformer()
ImageTextModel.data = @pairs()
ImageTextModel.width = {width}
ImageTextModel.contrast = {contrast!r}
ImageTextModel.projected = {projected!r}
pairs.path = ''
pairs.size = {size}
pairs.mode = {mode!r}
pairs.length = {length}
pairs.vocabulary = @caption_vocabulary()
caption_vocabulary.file = {vocabulary!r}
{towers}
"""


def import_towers(source: str | Path, run_dir: str | Path) -> dict[str, Any]:
    """Make a run directory of a ChineseCLIPModel or a SiglipModel.

    Parameters keep their dtype.

    Args:
      source: folder with config.json, the vocabulary's file and model.safetensors or pytorch_model.bin, or
        the shards of one.
      run_dir: a new folder; there whole or not at all.
    Returns:
      {"run_dir", "kind", "parameters", "bytes", "dtypes", "size", "length", "vocabulary_ids", "notes"}.
    Raises:
      UserError, DataError: the folder is no such model, or `run_dir` is taken.
    """
    source, run_dir = Path(source), Path(run_dir).absolute()
    folders.require_empty(run_dir, "--run_dir")
    found = hugging_face.examine(source)
    image, text, _ = found.towers
    if image.channels not in MODES:
        raise UserError(f"{source}: pictures of {image.channels} channels: 1 or 3 are read")
    vocabulary = vocabularies.read(source, found.kind, text.vocab_size)
    length = min(found.kind.length, text.length)
    with folders.made(run_dir, "--run_dir") as partial:
        directory = RunDirectory(partial)
        for name, content in stored_pairs.files(
            NoPairs(image.size, image.channels, length, vocabulary)
        ).items():
            (partial / name).write_bytes(content)
        recipe = _recipe(found, length, run_dir / vocabulary.file()[0], directory)
        params = parameters(found)
        manifest = {
            "recipe": recipe,
            "fingerprint": {"vocabulary": vocabulary.hash},
            KEY: {"format": "hf", "dtypes": _dtypes(found), **found.kept},
        }
        with Checkpoints(directory.checkpoints) as checkpoints:
            checkpoints.save(0, {"params": params}, manifest)
        leaves = jax.tree.leaves(params)
    return {
        "run_dir": str(run_dir),
        "kind": found.kind.name,
        "parameters": sum(leaf.size for leaf in leaves),
        "bytes": sum(leaf.nbytes for leaf in leaves),
        "dtypes": sorted(set(found.tensors.dtypes.values())),
        "size": image.size,
        "length": length,
        "vocabulary_ids": vocabulary.size,
        "notes": list(found.notes),
    }


def config_of(found: ImportableTowers) -> ImageTextConfig:
    """The shape of our model."""
    image: Any = found.towers.image
    _, text, width = found.towers
    return ImageTextConfig(image, text, width, found.kind.contrast, projected=found.kind.projected)


def parameters(found: ImportableTowers) -> parts.Tree:
    """Our parameters, of the dtypes that are there."""
    shapes = parts.by_path(jax.eval_shape(config_of(found).init, jax.random.key(0)))
    arrays = parts.read(found.tensors, found.table, {path: leaf.shape for path, leaf in shapes.items()})
    return parts.nested({path: jax.device_put(array) for path, array in arrays.items()})


def _dtypes(found: ImportableTowers) -> dict[str, str]:
    """Their dtypes, where they are not fp32."""
    return {each.name: dtype for each in found.table if (dtype := found.tensors.dtypes[each.name]) != "F32"}


def _recipe(found: ImportableTowers, length: int, vocabulary: Path, directory: RunDirectory) -> str:
    """The resolved recipe, written to the run directory."""
    image, text, width = found.towers
    described = [
        f"{called}.{field.name} = {getattr(config, field.name)!r}"
        for called, config in (("VisionTransformer", image), ("TextTransformer", text))
        for field in dataclasses.fields(config)
    ]
    directory.write_recipe(
        RECIPE.format(
            width=width,
            contrast=found.kind.contrast,
            projected=found.kind.projected,
            size=image.size,
            mode=MODES[image.channels],
            length=length,
            vocabulary=str(vocabulary),
            towers="\n".join(described),
        )
    )
    recipe = recipes.load([directory.recipe], function=functions.TRAIN)
    recipes.require_valid(recipe)
    resolved = recipes.dump(recipe)
    directory.write_recipe(resolved)
    return resolved
