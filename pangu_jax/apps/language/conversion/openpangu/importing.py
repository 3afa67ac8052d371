"""From the folder of a published Pangu model to a run directory: its recipe, vocabulary and step 0."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.text.vocabulary import PublishedIds, Vocabulary, of_tokenizer_json, published
from data_pipelines.text.vocabulary.added_tokens import TOKENIZER_JSON
from pangu_jax import recipes
from pangu_jax.apps.language.conversion.openpangu import checklist, classes, tensors
from pangu_jax.apps.language.conversion.openpangu import config as configs
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.recipes import functions
from pangu_jax.runs import room
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.exchange import folders, parts
from pangu_jax.runs.exchange.json_entries import entries
from pangu_jax.runs.exchange.tensors import Tensors
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from pangu_jax.workloads.language.stored_vocabulary import FILE as VOCABULARY
from pangu_jax.workloads.language.stored_vocabulary import StoredVocabulary
from pangu_jax.workloads.language.workload import LanguageModel

KEY = "openpangu"  # of the manifest: what an export needs to give back what was there
TOKENIZER = "tokenizer.model"
KEPT = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
CONVERT = "python -m safetensors.torch {0}"
START, PAD = 1, 0  # <s>; <unk>, which is padding too
LICENCE = (
    "its licence (OPENPANGU MODEL LICENSE 1.0, in its folder): no use or download in the European Union; "
    'products say "Powered by openPangu" and pass its notices on'
)
NESTED = {"experts": "Experts", "latent": "LatentAttention"}  # as recipes name them
SAME = 1e-6  # relative, of frequencies that were rounded elsewhere

RECIPE = """\
import data_pipelines.text.tasks.mixture
import pangu_jax.workloads.language

train.workload = @LanguageModel()
train.optimizer = @adamw()
train.steps = 1000
train.batch_size = 16
LanguageModel.model = @Decoder()
LanguageModel.data = @corpus()
corpus.vocabulary_file = {vocabulary!r}
corpus.encoder_length = 0
corpus.decoder_length = 1024
corpus.objectives = {{'text': @Causal()}}
Causal.mode = None
{model}
"""


class ImportableDecoder(NamedTuple):
    """A folder that was found fit to be imported; of its tensors the frequencies alone have been read.

    Attributes:
      kind: the published class.
      kept: name -> entries of its JSON files.
      config: what they mean.
      tensors: its tensors.
      table: those that are read.
      copies: names of those that are others once more.
      vocabulary: content of the run's vocabulary.model.
      frequencies: fp32 [head / 2], as its files hold them; None where they do not.
      notes: what a person should know, a line each.
    """

    kind: classes.Kind
    kept: dict[str, dict[str, Any]]
    config: DecoderConfig
    tensors: Tensors
    table: list[parts.ForeignTensor]
    copies: list[str]
    vocabulary: bytes
    frequencies: np.ndarray | None
    notes: tuple[str, ...]


def import_openpangu(source: str | Path, run_dir: str | Path) -> dict[str, Any]:
    """Make a run directory of a published Pangu model.

    Parameters keep their dtype. Memory holds the model once, and the largest of our arrays twice.

    Args:
      source: folder with config.json, tokenizer.model or tokenizer.json, and safetensors, as published.
      run_dir: a new folder; there whole or not at all.
    Returns:
      {"run_dir", "model_type", "parameters", "bytes", "dtypes", "vocabulary_ids", "rows", "notes"}.
    Raises:
      UserError, DataError: the folder is no such model, a file is damaged, or `run_dir` is taken.
    """
    folders.require_empty(Path(run_dir).absolute(), "--run_dir")  # before its files are read for their hashes
    room.require_for_import(Path(source), Path(run_dir))
    return write_run(examine(Path(source)), run_dir)


def write_run(found: ImportableDecoder, run_dir: str | Path) -> dict[str, Any]:
    """The run directory of what was found fit; returns and raises as `import_openpangu`."""
    run_dir = Path(run_dir).absolute()
    folders.require_empty(run_dir, "--run_dir")
    with folders.made(run_dir, "--run_dir") as partial:
        directory = RunDirectory(partial)
        (partial / VOCABULARY).write_bytes(found.vocabulary)
        vocabulary = Vocabulary(partial / VOCABULARY)
        manifest = {
            "recipe": _recipe(found.config, run_dir / VOCABULARY, directory),
            "fingerprint": {"vocabulary": vocabulary.fingerprint},
            KEY: {
                "files": found.kept,
                "dtypes": _mixed_dtypes(found),
                "copies": found.copies,
                "corrected": any(each.name.endswith(tensors.CORRECTION) for each in found.table),
                "frequencies": None
                if found.frequencies is None
                else found.frequencies.view(np.uint32).tolist(),
            },
        }
        params = read(found)
        with Checkpoints(directory.checkpoints) as checkpoints:
            extra = LanguageModel(found.config, StoredVocabulary(partial)).fresh_extra()
            checkpoints.save(0, {"params": params, **({"extra": extra} if extra else {})}, manifest)
        leaves = jax.tree.leaves(params)
    return {
        "run_dir": str(run_dir),
        "model_type": found.kind.name,
        "parameters": sum(leaf.size for leaf in leaves),
        "bytes": sum(leaf.nbytes for leaf in leaves),
        "dtypes": sorted({found.tensors.dtypes[each.name] for each in found.table}),
        "vocabulary_ids": vocabulary.size,
        "rows": found.config.vocab_size,
        "notes": list(found.notes),
    }


def examine(source: Path) -> ImportableDecoder:
    """Whether and as what a folder can be imported.

    Raises:
      UserError, DataError: it cannot.
    """
    where = str(source / "config.json")
    kept = {name: entries(source / name) for name in KEPT if (source / name).is_file()}
    theirs = kept["config.json"] if "config.json" in kept else entries(source / "config.json")
    kind = classes.require_read(theirs, where)
    tokenizer = source / (TOKENIZER if (source / TOKENIZER).is_file() else TOKENIZER_JSON)
    if not tokenizer.is_file():
        raise UserError(
            f"{source} has no {TOKENIZER} and no {TOKENIZER_JSON}; copy it from where the model came from"
        )
    compared = checklist.check(source)
    held = Tensors(source, CONVERT)
    of_layers = [name for name in held.shapes if name.endswith(tensors.FREQUENCIES)]
    config = configs.to_ours(theirs, where, tensors.BIAS in held.shapes, tensors.HEAD in held.shapes)
    frequencies = _frequencies(held, of_layers, config)
    for name in of_layers:
        del held.shapes[name]
    copies = _equal(held, tensors.copies(config))
    table = tensors.table(config, corrected=any(name.endswith(tensors.CORRECTION) for name in held.shapes))
    parts.require_same(held, table, f"a {kind.name} of this config.json")
    vocabulary = _vocabulary(tokenizer, theirs.get("eos_token_id"), kind)
    ids_there = Vocabulary(tokenizer, vocabulary).size
    if ids_there > config.vocab_size:
        raise UserError(
            f"{tokenizer} has {ids_there} ids and the model {config.vocab_size} rows: it is another "
            "model's tokenizer; bring this model's own"
        )
    notes = [LICENCE]
    if compared:
        notes.insert(0, f"{compared} files are those of {checklist.FILE}")
    return ImportableDecoder(kind, kept, config, held, table, copies, vocabulary, frequencies, tuple(notes))


def read(found: ImportableDecoder) -> Tree:
    """Our parameters; each array is filled tensor by tensor, the largest first, while there is most room."""
    shapes = jax.eval_shape(lambda: architecture.init(found.config, jax.random.key(0)))
    arrays = {path: leaf.shape for path, leaf in parts.by_path(shapes).items()}
    placed = {}
    for path, array in parts.one_by_one(found.tensors, found.table, arrays):
        # Orbax would copy NumPy's arrays all at once when it saves; those of a device it need not.
        placed[path] = jax.device_put(array).block_until_ready()
    # A correction bias that the files do not have moves nothing.
    return parts.nested({path: placed.get(path, jnp.zeros(shape)) for path, shape in arrays.items()})


def _vocabulary(file: Path, end: Any, kind: classes.Kind) -> bytes:
    """Content of the run's vocabulary; `end` is config.json's, which may name several or none."""
    known = end if type(end) is int else None
    if file.name == TOKENIZER_JSON:
        return of_tokenizer_json(file, known)
    return published(file.read_bytes(), PublishedIds(START, kind.end if known is None else known, PAD))


def _equal(held: Tensors, copies: Mapping[str, str]) -> list[str]:
    """The copies of other tensors, which are left out; UserError where one is none."""
    there = [name for name in copies if name in held.shapes]
    for name, other in copies.items():
        if name not in there:
            continue
        if other not in held.shapes or not held.equal(name, other):
            raise UserError(
                f"{held.folder}: {name} is no copy of {other}, as published: a module that predicts further "
                "has the model's table and head here"
            )
        del held.shapes[name]
    return there


def _frequencies(held: Tensors, names: list[str], config: DecoderConfig) -> np.ndarray | None:
    """The rotary frequencies of the files, which are no parameters: a check of the base.

    Raises:
      UserError: they are of another base.
    """
    if not names:
        return None
    ours = tensors.frequencies(config.rope_theta, config.width)
    with held.reading() as stored:
        each = [np.asarray(stored(name), np.float32) for name in names]
    for name, theirs in zip(names, each, strict=True):
        if theirs.shape != ours.shape or not np.allclose(theirs, ours, rtol=SAME, atol=0):
            raise UserError(
                f"{held.folder}: {name} are not the frequencies of rope_theta {config.rope_theta:g} and "
                f"heads of {config.width}: bring config.json and tensors of one model"
            )
    return each[0]


def _mixed_dtypes(found: ImportableDecoder) -> dict[str, str]:
    """Their dtypes, where they are not the same for all."""
    dtypes = {each.name: found.tensors.dtypes[each.name] for each in found.table}
    return dtypes if len(set(dtypes.values())) > 1 else {}


def _recipe(config: DecoderConfig, vocabulary: Path, directory: RunDirectory) -> str:
    """The resolved recipe, written to the run directory: training and tuning can continue from it."""
    model = "\n".join(_bindings("Decoder", config))
    directory.write_recipe(RECIPE.format(vocabulary=str(vocabulary), model=model))
    recipe = recipes.load([directory.recipe], function=functions.TRAIN)
    recipes.require_valid(recipe)
    text = recipes.dump(recipe)
    directory.write_recipe(text)
    return text


def _bindings(name: str, config: Any) -> Iterator[str]:
    """The lines of a recipe that make a configuration, and those in it."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            nested = NESTED[field.name]
            yield from _bindings(nested, value)
            value = f"@{nested}()"
        yield f"{name}.{field.name} = {value if str(value).startswith('@') else repr(value)}"
