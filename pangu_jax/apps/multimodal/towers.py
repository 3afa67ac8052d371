"""Towers of a recipe: with nothing learnt, or those of finished runs of vision and of language.

ImageTextModel.image = @image_tower()
ImageTextModel.text = @text_tower()
image_tower.run_dir = 'runs/pictures'
image_tower.locked = True
"""

import dataclasses
import functools
from typing import Any

import gin
import jax

from data_pipelines.pairs.piece_vocabulary import PieceVocabulary
from pangu_jax.apps.vision.tuning.stored_run import StoredRun, placed
from pangu_jax.apps.vision.tuning.trunk_of_run import TrunkOfRun
from pangu_jax.errors import UserError
from pangu_jax.runs import checkpoint_files, found_checkpoint, opening
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads import Tree, Workload
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.workload import LanguageModel

# How a shape is carried out or learnt, and no part of what a run has learnt.
OF_TRAINING = ("unroll", "dropout", "z_loss", "loss_chunks")


@gin.configurable(module="pangu_jax.apps.multimodal")
def image_tower(
    model: Any = None, run_dir: str | None = None, step: int | None = None, locked: bool = False
) -> Any:
    """The tower of pictures, for `ImageTextModel.image`.

    Args:
      model: its shape, @VisionTransformer() or @HierarchicalTransformer(). With `run_dir` that is the run's:
        give None, or the same.
      run_dir: a finished run of vision whose trunk it begins as, averaged where the run has averages.
      step: the run's checkpoint; the best or the newest when None.
      locked: whether it stays as the run left it.

    Raises:
      UserError: there is no such run, it is of another family, or its shape is another than `model`.
    """
    if not run_dir:
        return _fresh("image_tower", "@VisionTransformer()", model, step, locked)
    return ImageTowerOfRun(run_dir, step, locked, model)


@gin.configurable(module="pangu_jax.apps.multimodal")
def text_tower(
    model: Any = None, run_dir: str | None = None, step: int | None = None, locked: bool = False
) -> Any:
    """The tower of texts, for `ImageTextModel.text`: an encoder that reads, a decoder that writes captions.

    Args:
      model: its shape, @EncoderDecoder(). With `run_dir` that is the run's: give None, or the same.
      run_dir: a finished run of language whose encoder, decoder and vocabulary it begins with.
      step: the run's checkpoint; the best or the newest when None.
      locked: whether encoder and decoder stay as the run left them; what they read of pictures learns.

    Raises:
      UserError: there is no such run, it is of another family or tuned, or its shape is another than `model`.
      DataError: its vocabulary is missing or damaged.
    """
    if not run_dir:
        return _fresh("text_tower", "@EncoderDecoder()", model, step, locked)
    return TextTowerOfRun(run_dir, step, locked, model)


class ImageTowerOfRun(TrunkOfRun):
    """The trunk of a run of vision (`pangu_jax.workloads.multimodal.towers.LearntTower`).

    Its recipe is read at once, its checkpoint when it is asked for: no device is touched before.
    """

    vocabulary = None

    def __init__(self, run_dir: str, step: int | None, locked: bool, model: Any):
        self._run = StoredRun(run_dir, step, "image_tower.run_dir")
        self.locked, self._given = locked, model
        self.named = f"the run {self._run.directory.path}"

    @functools.cached_property
    def config(self) -> Any:
        """The shape: the run's."""
        return _agreed("image_tower", self._given, self._workload.model, self.named)

    @functools.cached_property
    def identity(self) -> str:
        """See `LearntTower`."""
        return _identity(self._run.directory, self._run.pinned())

    def restore(self, shardings: Tree) -> Tree:
        """See `LearntTower`. UserError where the checkpoint is damaged, or is not of this shape."""
        self._run.pinned()
        return super().restore(shardings)


class TextTowerOfRun:
    """The encoder-decoder of a run of language, and its vocabulary (`LearntTower`).

    Its recipe and vocabulary are read at once, its checkpoint when it is asked for.
    """

    def __init__(self, run_dir: str, step: int | None, locked: bool, model: Any):
        self._directory = found_checkpoint.require_run(run_dir, "--gin.text_tower.run_dir=DIR")
        self._step, self.locked = step, locked
        self.named = f"the run {self._directory.path}"
        _require_whole(self._directory)
        workload: Any = _language(self._directory)
        self.vocabulary = PieceVocabulary.from_file(workload.data.file)
        own = workload.model
        if not isinstance(own, EncoderDecoderConfig):
            raise UserError(
                f"{self.named} is a decoder alone, which makes no vector of a text: give the run of an "
                "encoder-decoder"
            )
        if self.vocabulary.size > own.vocab_size:
            raise UserError(
                f"{workload.data.file} has {self.vocabulary.size} ids and the model {own.vocab_size} rows: "
                "it is another model's vocabulary; bring this run's own back"
            )
        self.config = _agreed("text_tower", model, own, self.named)

    @functools.cached_property
    def identity(self) -> str:
        """See `LearntTower`."""
        return _identity(self._directory, self._pinned)

    @functools.cached_property
    def _pinned(self) -> int:
        """The checkpoint's step, from now on."""
        with found_checkpoint.find(self._directory, self._step) as stored:
            return stored.step

    def restore(self, shardings: Tree) -> Tree:
        """See `LearntTower`. UserError where the checkpoint is damaged, or is not of this shape."""
        init = functools.partial(architecture.init, self.config)
        shapes = jax.eval_shape(init, jax.random.key(0))
        wanted = placed({name: shapes[name] for name in shardings}, shardings)
        with found_checkpoint.find(self._directory, self._pinned) as stored:
            return stored.checkpoints.read_below(stored.step, "params", wanted)


def _fresh(name: str, example: str, model: Any, step: int | None, locked: bool) -> Any:
    if model is None:
        raise UserError(
            f"{name} has neither model nor run_dir: give {name}.model = {example}, or a finished run"
        )
    if locked or step is not None:
        what = "locked" if locked else "step"
        raise UserError(f"{name}.{what} is of a finished run: give {name}.run_dir as well, or leave it out")
    return model


def _agreed(name: str, given: Any, own: Any, run: str) -> Any:
    """The run's shape, carried out as the recipe's; UserError where they differ."""
    if given is None:
        return own
    how = f"--gin.{name}.model=None takes the run's shape"
    if type(given) is not type(own):
        kinds = type(own).__name__.removesuffix("Config"), type(given).__name__.removesuffix("Config")
        raise UserError(
            f"{run} is of another kind of model ({kinds[0]}) than {name}.model ({kinds[1]}): {how}"
        )
    for one in dataclasses.fields(own):
        before, now = getattr(own, one.name), getattr(given, one.name)
        if before != now and one.name not in OF_TRAINING:
            raise UserError(f"{run} has {one.name} = {before!r}, and {name}.model {now!r}: {how}")
    return given


def _identity(directory: RunDirectory, step: int) -> str:
    return checkpoint_files.digest(directory.checkpoints / str(step))


def _language(directory: RunDirectory) -> Workload:
    workload = opening.workload_of(opening.recipe_of(directory), directory, LanguageModel.name)
    if not isinstance(workload, LanguageModel):
        raise UserError(
            f"{directory.path} holds no encoder-decoder: name a run of `pangu train` by a recipe nlp/"
        )
    return workload


def _require_whole(directory: RunDirectory) -> None:
    """UserError for a run that was tuned: some of its parameters are another run's."""
    step = max(checkpoint_files.committed_steps(directory.checkpoints))
    if "tuning" in checkpoint_files.read_manifest(directory.checkpoints / str(step)):
        raise UserError(
            f"{directory.path} was tuned: name the run that it was tuned from by text_tower.run_dir"
        )
