"""From a folder of Hugging Face to a run directory: its recipe, vocabulary and a checkpoint of step 0."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from data_pipelines.text.denoising import SpanCorruption
from data_pipelines.text.vocabulary import Vocabulary
from pangu_jax import recipes
from pangu_jax.apps.language.conversion import config as configs
from pangu_jax.apps.language.conversion import names, vocabularies
from pangu_jax.apps.language.conversion.vocabularies import FoundVocabulary
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.recipes import functions
from pangu_jax.runs import room
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.exchange import folders
from pangu_jax.runs.exchange.json_entries import entries
from pangu_jax.runs.exchange.tensors import DTYPES, Tensors
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

CONVERT = (
    'python -c \'from transformers import AutoModelForSeq2SeqLM as M; M.from_pretrained("{0}")'
    '.save_pretrained("{0}-safe")\''
)
KEY = "hugging_face"  # of the manifest: what an export needs to give back what was there
FIRST_FEW = 3

RECIPE = """\
import data_pipelines.text.tasks.mixture
import pangu_jax.workloads.language

train.workload = @LanguageModel()
train.optimizer = @adamw()
train.steps = 1000
train.batch_size = 16
LanguageModel.model = @EncoderDecoder()
LanguageModel.data = @corpus()
corpus.vocabulary_file = {vocabulary!r}
corpus.encoder_length = 512
corpus.decoder_length = 128
{objective}
{model}
"""
SPANS = """\
corpus.objectives = {{'span': @SpanCorruption()}}
SpanCorruption.mode = None
SpanCorruption.sentinels = {sentinels}"""
# Without sentinels no span can be marked.
PREFIXES = """\
corpus.objectives = {'prefix': @PrefixLM()}
PrefixLM.mode = None"""


class ImportableFolder(NamedTuple):
    """A folder that was found fit to be imported; no tensor has been read.

    Attributes:
      theirs: the entries of its config.json.
      config: what they mean.
      tensors: its tensors.
      found: its vocabulary.
      notes: what a person should know, a line each.
    """

    theirs: dict[str, Any]
    config: EncoderDecoderConfig
    tensors: Tensors
    found: FoundVocabulary
    notes: tuple[str, ...] = ()

    @property
    def vocabulary(self) -> Vocabulary:
        """Its vocabulary, ready to be used."""
        return self.found.vocabulary


def import_hugging_face(source: str | Path, run_dir: str | Path) -> dict[str, Any]:
    """Make a run directory of a T5, T5 v1.1, mT5 or ByT5.

    Parameters keep their dtype. Memory holds the model once, and the largest of our arrays twice.

    Args:
      source: folder with config.json, the vocabulary's files and model.safetensors or pytorch_model.bin, or
        the shards of one.
      run_dir: a new folder; there whole or not at all.
    Returns:
      {"run_dir", "model_type", "parameters", "bytes", "dtypes", "vocabulary_ids", "rows", "notes"}.
    Raises:
      UserError, DataError: the folder is no such model, or `run_dir` is taken.
    """
    source, run_dir = Path(source), Path(run_dir).absolute()
    folders.require_empty(run_dir, "--run_dir")
    room.require_for_import(source, run_dir)
    found = examine(source)
    with folders.made(run_dir, "--run_dir") as partial:
        directory = RunDirectory(partial)
        vocabulary = partial / "vocabulary.model"
        vocabulary.write_bytes(found.found.content)
        recipe = _recipe(found, run_dir / vocabulary.name, directory)
        manifest = {
            "recipe": recipe,
            "fingerprint": {"vocabulary": found.vocabulary.fingerprint},
            KEY: {"config": found.theirs, "dtypes": _mixed_dtypes(found)},
        }
        params = _read(found)
        with Checkpoints(directory.checkpoints) as checkpoints:
            checkpoints.save(0, {"params": params}, manifest)
        leaves = jax.tree.leaves(params)
    return {
        "run_dir": str(run_dir),
        "model_type": found.theirs["model_type"],
        "parameters": sum(leaf.size for leaf in leaves),
        "bytes": sum(leaf.nbytes for leaf in leaves),
        "dtypes": sorted(set(found.tensors.dtypes.values())),
        "vocabulary_ids": found.vocabulary.size,
        "rows": found.config.vocab_size,
        "notes": list(found.notes),
    }


def examine(source: Path) -> ImportableFolder:
    """Whether and as what a folder can be imported, known without reading a tensor (but a doubtful head).

    Raises:
      UserError, DataError: it cannot.
    """
    if not source.is_dir():
        raise UserError(f"there is no folder {source}; give one with config.json and {vocabularies.SPIECE}")
    where = str(source / "config.json")
    theirs = entries(source / "config.json")
    configs.require_kind(theirs, where)
    tensors = Tensors(source, CONVERT)
    tensors.alias(names.EMBEDDING, names.EMBEDDING_ALIASES)
    own_head = _has_own_head(theirs, tensors)
    config = configs.to_ours(theirs, where, own_head)
    notes = () if own_head else configs.of_a_head_that_is_not_there(theirs, where)
    found = vocabularies.read(source, config.vocab_size, theirs.get("tokenizer_class"))
    _require_same_tensors(config, tensors)
    return ImportableFolder(theirs, config, tensors, found, (*notes, *found.notes))


def _has_own_head(theirs: Mapping[str, Any], tensors: Tensors) -> bool:
    """Whether the head is more than another name of the embedding."""
    if names.HEAD not in tensors.shapes or names.EMBEDDING not in tensors.shapes:
        return names.HEAD in tensors.shapes
    said_to_be = theirs.get("tie_word_embeddings") is False
    return said_to_be or not tensors.equal(names.HEAD, names.EMBEDDING)


def _require_same_tensors(config: EncoderDecoderConfig, tensors: Tensors) -> None:
    if config.encoder_layers + config.decoder_layers > len(tensors.shapes):
        raise UserError(
            f"{tensors.folder}: config.json has {config.encoder_layers} + {config.decoder_layers} layers, "
            f"the files hold {len(tensors.shapes)} tensors; bring config.json and tensors of one model"
        )
    wanted = {piece.name: piece.shape for each in names.pieces(config).values() for piece in each}
    found = tensors.shapes
    spare = {*names.UNUSED, *names.EMBEDDING_ALIASES, *([names.HEAD] if config.tied_head else [])}
    wrong = [f"{name} is missing" for name in wanted if name not in found]
    wrong += [
        f"{name} is {_by(found[name])} instead of {_by(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    wrong += [f"{name} has no place" for name in found if name not in wanted and name not in spare]
    wrong = wrong or [
        f"{name} differs from {names.EMBEDDING}"
        for name in names.EMBEDDING_ALIASES
        if name in found and not tensors.equal(name, names.EMBEDDING)
    ]
    if wrong:
        more = f", and {len(wrong) - FIRST_FEW} more" if len(wrong) > FIRST_FEW else ""
        raise UserError(
            f"{tensors.folder}: the tensors are not those its config.json describes: "
            f"{', '.join(wrong[:FIRST_FEW])}{more}; bring config.json and tensors of one model"
        )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _read(source: ImportableFolder) -> Tree:
    """Our parameters, array by array; each is filled piece by piece."""
    shapes = names.shapes(source.config)
    params: Tree = {}
    for path, pieces in names.pieces(source.config).items():
        array = np.empty(shapes[path], _dtype(source.tensors, pieces))
        with source.tensors.reading() as read:
            for piece in pieces:
                array[piece.index] = piece.to_ours(read(piece.name))
        *parents, leaf = path.split("/")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        # Orbax would copy NumPy's arrays all at once when it saves; those of a device it need not.
        node[leaf] = jax.device_put(array)
        node[leaf].block_until_ready()
    return params


def _dtype(tensors: Tensors, pieces: list[names.TensorPiece]) -> np.dtype:
    """The dtype of the pieces; fp32, which holds them all, where they differ."""
    found = {tensors.dtypes[piece.name] for piece in pieces}
    return DTYPES[found.pop() if len(found) == 1 else "F32"]


def _mixed_dtypes(source: ImportableFolder) -> dict[str, str]:
    """Their dtype of the tensors that lie in an array of ours with another."""
    dtypes = source.tensors.dtypes
    return {
        piece.name: dtypes[piece.name]
        for pieces in names.pieces(source.config).values()
        for piece in pieces
        if DTYPES[dtypes[piece.name]] != _dtype(source.tensors, pieces)
    }


def _recipe(found: ImportableFolder, vocabulary: Path, directory: RunDirectory) -> str:
    """The resolved recipe, written to the run directory: training and tuning can continue from it."""
    model = "\n".join(f"EncoderDecoder.{name} = {value!r}" for name, value in vars(found.config).items())
    sentinels = min(found.vocabulary.special.sentinels, SpanCorruption.sentinels)
    objective = SPANS.format(sentinels=sentinels) if sentinels else PREFIXES
    directory.write_recipe(RECIPE.format(vocabulary=str(vocabulary), objective=objective, model=model))
    recipe = recipes.load([directory.recipe], function=functions.TRAIN)
    recipes.require_valid(recipe)
    text = recipes.dump(recipe)
    directory.write_recipe(text)
    return text
