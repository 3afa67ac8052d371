"""`boxed_images` of a recipe: photos and where things are in them, for a detector.

boxed_images.path = 'photos/'          # flights in folders, VOC's XML or COCO's JSON among them; or Parquet
boxed_images.height, boxed_images.width = 320, 416
"""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import gin
import numpy as np

from data_pipelines import cache
from data_pipelines.batches import Mixture, ValidationBatches
from data_pipelines.errors import DataError
from data_pipelines.images import box_index, box_views, copies, preparing, splitting
from data_pipelines.images.augment import Augmentation, ColorJitter
from data_pipelines.images.batches import Pictures
from data_pipelines.images.box_index import BoxIndex
from data_pipelines.images.box_views import CropAround, FlipBoxes, PhotoPart, ViewStep
from data_pipelines.images.boxed_batches import BoxedTask
from data_pipelines.images.decoding import Mode
from data_pipelines.images.picture import Fields

TASK = "photos"
MAX_PIXELS = 32 * 2**20  # of a photo that is learnt from


@dataclasses.dataclass(frozen=True)
class BoxedImages:
    """Photos with boxes as a recipe asks for them; nothing is read until `prepared` is."""

    settings: preparing.Settings
    annotations: str
    wanted: tuple[str, ...]
    height: int
    width: int
    mode: Mode
    views: tuple[ViewStep, ...]
    augment: tuple[Augmentation, ...]
    folds: int
    fold: int
    labelled: str | None
    zooms: tuple[float, ...]
    overlap: float
    cache_root: Path

    @functools.cached_property
    def prepared(self) -> cache.Cache:
        """The cache of the photos, made first where it is not there. DataError where none can be used."""
        return preparing.prepare(self.settings, self.cache_root)

    @functools.cached_property
    def pictures(self) -> Pictures:
        """The photos, opened."""
        return Pictures(self.prepared, self.mode)

    @functools.cached_property
    def boxes(self) -> BoxIndex:
        """Their boxes, by the same places. DataError where there are none."""
        return box_index.prepare(self.pictures, self.prepared, self.annotations, self.wanted, self.cache_root)

    @property
    def classes(self) -> list[str]:
        """Names of what is found, in the order of their numbers."""
        return list(self.boxes.classes)

    @property
    def channels(self) -> int:
        """Of every view."""
        return 3 if self.mode == "RGB" else 1

    @property
    def most(self) -> int:
        """Boxes that a view has room for."""
        return max(1, self.boxes.most)

    @functools.cached_property
    def fold_N(self) -> np.ndarray:
        """The fold of each photo, int32: a group is whole in one."""
        return splitting.folds(self.boxes.group_N.tolist(), self.boxes.kinds_NxK, self.folds)

    def places(self, held_out: bool) -> np.ndarray:
        """Of one side, int64; of what is learnt from those that are labelled."""
        found = np.flatnonzero((self.fold_N == self.fold) == held_out)
        if held_out or self.labelled is None:
            return found
        return found[np.isin(self.boxes.name_N[found], list(self.named))]

    @functools.cached_property
    def named(self) -> frozenset[str]:
        """Names in the file `labelled`. DataError where it cannot be read, or one is of no photo."""
        try:
            lines = Path(self.labelled or "").read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "no UTF-8"
            raise DataError(f"boxed_images.labelled: {self.labelled}: {why}") from None
        names = frozenset(line.strip() for line in lines if line.strip())
        if unknown := sorted(names - set(self.boxes.name_N.tolist())):
            raise DataError(
                f"boxed_images.labelled: {self.labelled} names {len(unknown)} photos that are not there, "
                f"such as {unknown[0]!r}; there are such as {self.boxes.name_N[0]!r}"
            )
        return names

    @property
    def class_counts(self) -> np.ndarray:
        """Boxes of each class in what is learnt from, int64 [C]."""
        return self.boxes.counts_NxC[self.places(False)].sum(axis=0)

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> Mixture:
        """Endless views of what is learnt from."""
        return self.learnt_from(self.places(False), batch_size, seed, shift)

    def learnt_from(self, places: np.ndarray, batch_size: int, seed: int, shift: int = 0) -> Mixture:
        """`train_source` of some photos alone."""
        records = [(int(place), None) for place in places]
        task = self._task(records, self.views, self.augment)
        return Mixture({TASK: (task, 1.0)}, batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> dict[str, ValidationBatches]:
        """What is held out, once."""
        source = self.once(self.places(True), batch_size)
        return {TASK: source} if len(source) else {}

    def once(self, places: np.ndarray, batch_size: int) -> ValidationBatches:
        """Some photos once: each in the parts that `zooms` say."""
        records = [
            (place, part)
            for place in places.tolist()
            for part in box_views.parts(
                *self.pictures.sides(place), self.height, self.width, self.zooms, self.overlap
            )
        ]
        return ValidationBatches(self._task(records, (), ()), batch_size)

    def order(self) -> dict[str, str]:
        """What decides the training stream besides its seed: photos, boxes, sides and steps."""
        return {
            "photos": self.prepared.root.name,
            "boxes": self.boxes.identity,
            "sides": f"{self.height} x {self.width}",
            "fold": f"{self.fold} of {self.folds}",
            "labelled": hashlib.sha256("\0".join(sorted(self.named)).encode()).hexdigest()
            if self.labelled
            else "all",
            "views": repr([*self.views, *self.augment]),
        }

    def notices(self) -> list[str]:
        """What a person must be told of the photos and boxes, a line each."""
        counts, manifest = self.boxes.counts, self.prepared.manifest
        parts = ", ".join(f"{count} {what}" for what, count in counts.items())
        said = [f"boxes of {self.annotations}: {parts}; none is left out for its size"]
        left_out = [
            f"{count} {what}" for of in ("set_aside", "skipped_files") for what, count in manifest[of].items()
        ]
        if left_out:
            said.append(f"photos of {self.settings.path}: left out {', '.join(left_out)}")
        if unmatched := self.boxes.unmatched:
            said.append(f"{len(unmatched)} photos such as {unmatched[0]} have no annotation: taken as empty")
        if not self.boxes.has_groups:
            said.append(
                f"photos of {self.settings.path} have no groups (folders of flights, or a column group): "
                "they are split one by one, and what is measured is too good where they come in series"
            )
        train, held_out = self.places(False), self.places(True)
        near = copies.near_copies(self.pictures.hash_N[train], self.pictures.hash_N[held_out])
        if count := len(np.unique(near[:, 1])):
            one, other = self.boxes.name_N[train[near[0, 0]]], self.boxes.name_N[held_out[near[0, 1]]]
            said.append(
                f"{count} of {len(held_out)} photos that are held out look like one that is learnt from, "
                f"such as {other} and {one}: what is measured on them is too good"
            )
        return said

    def _task(
        self,
        records: Sequence[tuple[int, PhotoPart | None]],
        views: Sequence[ViewStep],
        colours: Sequence[Augmentation],
    ) -> BoxedTask:
        sides = self.height, self.width, self.most
        return BoxedTask(TASK, 0, self.pictures, self.boxes, records, *sides, views, colours)


@gin.configurable
def boxed_images(
    path: str | None = None,
    annotations: str | None = None,
    classes: Sequence[str] = (),
    image_field: str | None = None,
    group_field: str | None = None,
    height: int = 320,
    width: int = 416,
    mode: Mode = "RGB",
    views: Sequence[ViewStep] | None = None,
    augment: Sequence[Augmentation] | None = None,
    folds: int = 5,
    fold: int = 0,
    labelled: str | None = None,
    zooms: Sequence[float] = (1.0,),
    overlap: float = 0.2,
    max_pixels: int = MAX_PIXELS,
    cache_dir: str | None = None,
) -> BoxedImages:
    """Photos with boxes.

    Args:
      path: must be given: a folder of photos, an archive or a table, as for `images`.
      annotations: VOC's XML, COCO's JSON or Parquet, a file or a folder of them; `path` when None.
      classes: those that are learnt, in this order; all, sorted, when (). Boxes of others are counted.
      image_field: column of a table with the photos; "image" and its kin unless given.
      group_field: column of what must stay together in a split; "group" unless given.
      height: pixels of a view, a multiple of what the detector's trunk divides by.
      width: likewise.
      mode: "RGB", or "L" for grey.
      views: steps that make a view to learn from; @CropAround() and @FlipBoxes() when None.
      augment: steps that change colours alone; @ColorJitter() when None.
      folds: parts that groups are dealt out to.
      fold: the one that is held out, from 0.
      labelled: a file with names of photos, one a line: of those that are not held out no others are learnt
        from. All when None.
      zooms: what is held out is looked at at each of them: 1 is the whole photo as large as fits, 2 twice as
        large and in tiles, and so on.
      overlap: of tiles, a share of their sides.
      max_pixels: larger photos are set aside unread, and counted.
      cache_dir: where the cache is; the user's when None.

    Raises:
      DataError: a value that cannot be.
    """
    if not path:
        raise DataError(
            "boxed_images.path is not set: say where the photos are, --gin.boxed_images.path=DIR, a folder, "
            ".zip or Parquet"
        )
    if min(height, width) < 1 or not 0 <= overlap < 1:
        raise DataError(
            f"boxed_images: height {height} and width {width} must be at least 1, overlap {overlap} from 0 "
            "to below 1"
        )
    if not zooms or min(zooms) <= 0:
        raise DataError(f"boxed_images.zooms = {list(zooms)}: give one or more, above 0")
    if not 0 <= fold < folds:
        raise DataError(f"boxed_images.fold = {fold}: from 0 to below folds = {folds}")
    if len(set(classes)) < len(classes):
        raise DataError(f"boxed_images.classes = {list(classes)}: give each once")
    return BoxedImages(
        preparing.Settings(path, Fields(image_field, None, group_field), 0.1, max_pixels),
        annotations or path,
        tuple(classes),
        height,
        width,
        mode,
        tuple((CropAround(), FlipBoxes()) if views is None else views),
        tuple((ColorJitter(),) if augment is None else augment),
        folds,
        fold,
        labelled,
        tuple(zooms),
        overlap,
        Path(cache_dir) if cache_dir else cache.default_root(),
    )
