"""`images` of a recipe: the pictures that a vision model learns from, and what is done to them on the way.

images.path = 'photos/'          # or .zip, .tar, .parquet, .csv, tfds:NAME: see `sources`
images.size = 32
images.augment = [@RandomResizedCrop(), @Flip()]
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import gin
import numpy as np

from data_pipelines import cache
from data_pipelines.batches import Mixture, ValidationBatches
from data_pipelines.errors import DataError
from data_pipelines.images import preparing
from data_pipelines.images.augment import Augmentation, CenterCrop, Flip, RandomResizedCrop, Resize
from data_pipelines.images.batches import Pictures, PictureTask
from data_pipelines.images.decoding import MAX_PIXELS, Mode
from data_pipelines.images.picture import Fields

TASK = "pictures"


@dataclasses.dataclass(frozen=True)
class Images:
    """Pictures as a recipe asks for them; nothing is read until `prepared` is."""

    settings: preparing.Settings
    size: int
    mode: Mode
    augment: tuple[Augmentation, ...]
    plain_augment: tuple[Augmentation, ...] | None
    validation_augment: tuple[Augmentation, ...]
    views: int
    validation_pictures: int | None
    cache_root: Path

    task_names = (TASK,)

    @functools.cached_property
    def prepared(self) -> cache.Cache:
        """The cache of the pictures, made first where it is not there.

        Raises:
          DataError: there is nothing at the path, or nothing of it can be used.
        """
        return preparing.prepare(self.settings, self.cache_root)

    @functools.cached_property
    def pictures(self) -> Pictures:
        """The pictures, opened."""
        return Pictures(self.prepared, self.mode)

    @property
    def classes(self) -> list[str]:
        """Names of the labels; [] where there are none."""
        return list(self.prepared.manifest["classes"])

    @property
    def plain(self) -> bool:
        """Whether a view by `plain_augment` is the last one."""
        return self.plain_augment is not None

    @property
    def channels(self) -> int:
        """Of every view."""
        return 3 if self.mode == "RGB" else 1

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> Mixture:
        """Endless views of what is trained on."""
        return self.learnt_from(self.pictures.places(False), batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> dict[str, ValidationBatches]:
        """What is held out, once; with as many views as in training, all alike where nothing is drawn."""
        plain = self.validation_augment if self.plain else None
        task = self._task_of(self.measured, self.validation_augment, plain)
        return {TASK: ValidationBatches(task, batch_size)} if task.size else {}

    def once(self, places: np.ndarray, batch_size: int) -> ValidationBatches:
        """Some pictures once, each a view by `validation_augment`.

        Args:
          places: int [pictures], by which `pictures` has them.
          batch_size: pictures of a batch; the last is filled up with rows of weight 0.
        """
        task = PictureTask(TASK, 0, self.pictures, places.tolist(), self.validation_augment, self.size)
        return ValidationBatches(task, batch_size)

    def augmented(self, places: np.ndarray, batch_size: int) -> ValidationBatches:
        """Some pictures once, as many views of each as in training and drawn as there.

        Args:
          places: int [pictures], by which `pictures` has them.
          batch_size: pictures of a batch; the last is filled up with rows of weight 0.
        """
        return ValidationBatches(self._task_of(places, self.augment, self.plain_augment), batch_size)

    def learnt_from(self, places: np.ndarray, batch_size: int, seed: int, shift: int = 0) -> Mixture:
        """`train_source` of some pictures alone.

        Args:
          places: int [pictures], by which `pictures` has them.
          batch_size: pictures of a batch.
          seed: of order and views.
          shift: as for `Mixture`.
        """
        task = self._task_of(places, self.augment, self.plain_augment)
        return Mixture({TASK: (task, 1.0)}, batch_size, seed, shift)

    @property
    def measured(self) -> np.ndarray:
        """Places of the pictures that are held out and evaluated, int64: of any class, since a source is
        often sorted by classes."""
        return np.random.default_rng(0).permutation(self.pictures.places(True))[: self.validation_pictures]

    def order(self) -> dict[str, str]:
        """What decides the training stream besides its seed: the pictures and the steps."""
        return {
            "pictures": self.prepared.root.name,
            "augment": repr(list(self.augment)),
            "views": str(self.views),
            "plain_augment": repr(self.plain_augment),
        }

    def notices(self) -> list[str]:
        """What a person must be told of the pictures, a line each; [] where nothing was wrong."""
        said, manifest = [], self.prepared.manifest
        parts = [
            f"{count} {what}" for of in ("set_aside", "skipped_files") for what, count in manifest[of].items()
        ]
        if parts:
            said.append(f"pictures of {self.settings.path}: left out {', '.join(parts)}")
        if near := manifest["near_copies"]:
            one, other = manifest["near_copies_such_as"][0]
            share = near / manifest["pictures"]["validation"]
            said.append(
                f"pictures of {self.settings.path}: {near} of those held out ({share:.1%}) look like one "
                f"that is trained on, such as {other} and {one}: what is measured on them is too good"
            )
        return said

    def _task_of(
        self, places: np.ndarray, steps: Sequence[Augmentation], plain: Sequence[Augmentation] | None
    ) -> PictureTask:
        return PictureTask(TASK, 0, self.pictures, places.tolist(), steps, self.size, self.views, plain)


@gin.configurable
def images(
    path: str | None = None,
    image_field: str | None = None,
    label_field: str | None = None,
    group_field: str | None = None,
    size: int = 32,
    mode: Mode = "RGB",
    augment: Sequence[Augmentation] | None = None,
    plain_augment: Sequence[Augmentation] | None = None,
    validation_augment: Sequence[Augmentation] | None = None,
    views: int = 1,
    validation_fraction: float = 0.1,
    validation_pictures: int | None = 1024,
    max_pixels: int = MAX_PIXELS,
    cache_dir: str | None = None,
) -> Images:
    """The pictures of a vision model.

    Args:
      path: must be given: a folder of pictures, with or without class folders; .zip or .tar, also in
        WebDataset's layout; Parquet; .csv or .tsv of paths; tfds:NAME; package:digits, package:photos or
        package:all, which come inside of Python packages.
      image_field: column of a table with the pictures; "image" and its kin unless given.
      label_field: column with the classes; "label" and its kin unless given.
      group_field: column of what must stay together in a split; "group" unless given.
      size: pixels of a view's side.
      mode: "RGB", or "L" for grey.
      augment: steps that make a view to train on; @RandomResizedCrop() and @Flip() of this size when None.
      plain_augment: steps that make one view more, the last: for what is learnt from pictures as they are,
        beside what is learnt from strongly augmented views. None for no such view.
      validation_augment: steps for what is held out; its middle, as large as fits, when None.
      views: of each picture, each with draws of its own.
      validation_fraction: of every class that is held out, where the source is not split already.
      validation_pictures: so many of those held out are evaluated; all when None.
      max_pixels: larger pictures are set aside unread.
      cache_dir: where the cache is; the user's when None.

    Raises:
      DataError: a value that cannot be.
    """
    if not path:
        raise DataError(
            "images.path is not set: say where the pictures are, --gin.images.path=DIR, a folder, .zip, "
            ".tar, .parquet, .csv, tfds:NAME or package:all"
        )
    if size < 1 or views < 1:
        raise DataError(f"images.size {size} and images.views {views} must be at least 1")
    if not 0 < validation_fraction < 1:
        raise DataError(f"images.validation_fraction {validation_fraction} must be between 0 and 1")
    if mode not in ("RGB", "L"):
        raise DataError(f"images.mode {mode!r}: it is 'RGB', or 'L' for grey")
    return Images(
        preparing.Settings(
            path, Fields(image_field, label_field, group_field), validation_fraction, max_pixels
        ),
        size,
        mode,
        tuple((RandomResizedCrop(size), Flip()) if augment is None else augment),
        None if plain_augment is None else tuple(plain_augment),
        tuple((Resize(size), CenterCrop(size)) if validation_augment is None else validation_augment),
        views,
        validation_pictures,
        Path(cache_dir) if cache_dir else cache.default_root(),
    )
