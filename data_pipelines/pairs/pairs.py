"""`pairs` of a recipe: the pictures and captions that a model of both learns from.

pairs.path = 'photos/'          # or drawn:shapes and others: see `sources`
pairs.size = 48
pairs.validation = 'val.txt'
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import gin
import numpy as np

from data_pipelines import cache
from data_pipelines.batches import Mixture, ValidationBatches
from data_pipelines.errors import DataError
from data_pipelines.images.augment import Augmentation, CenterCrop, RandomResizedCrop, Resize
from data_pipelines.images.batches import Pictures, PictureTask
from data_pipelines.images.decoding import MAX_PIXELS, Mode
from data_pipelines.pairs import noticing, pair_set, preparing, sides, sources
from data_pipelines.pairs.batches import CaptionTokens
from data_pipelines.pairs.pair_set import TASK, PairSet
from data_pipelines.pairs.preparing import PairIndex
from data_pipelines.pairs.sides import Sides
from data_pipelines.pairs.stored_features import StoredFeatures
from data_pipelines.pairs.vocabulary import CaptionVocabulary, CharacterVocabulary, fitted

DRAW_NOTHING = (Resize, CenterCrop)  # steps that make the same of a picture each time


@dataclasses.dataclass(frozen=True)
class ImageTextPairs:
    """Pairs as a recipe asks for them; nothing is read until it is needed."""

    settings: preparing.PairSettings
    size: int
    mode: Mode
    length: int
    augment: tuple[Augmentation, ...]
    validation_augment: tuple[Augmentation, ...]
    validation: str | None
    validation_fraction: float
    least_count: int
    shuffled: bool
    given_vocabulary: CaptionVocabulary | None
    cache_root: Path
    made_features: Callable[["ImageTextPairs"], StoredFeatures] | None = None

    task_names = (TASK,)
    views = 1
    plain = False

    @property
    def channels(self) -> int:
        """Of every view."""
        return 3 if self.mode == "RGB" else 1

    @functools.cached_property
    def prepared(self) -> cache.Cache:
        """The cache of the pairs, made first where it is not there.

        Raises:
          DataError: there is nothing at the path, or nothing of it can be used.
        """
        return preparing.prepare(self.settings, self.cache_root)

    @functools.cached_property
    def pictures(self) -> Pictures:
        """The pictures of both sides, opened."""
        return Pictures(self.prepared, self.mode)

    @functools.cached_property
    def index(self) -> PairIndex:
        """Captions and links of both sides."""
        return PairIndex(self.prepared)

    @functools.cached_property
    def sides(self) -> Sides:
        """Which pictures are learnt from, and which are held out."""
        return sides.split(self.index, self.settings.path, self.validation, self.validation_fraction)

    @functools.cached_property
    def vocabulary(self) -> CaptionVocabulary:
        """The one that was given; else of the characters of what is learnt from."""
        if self.given_vocabulary is not None:
            return self.given_vocabulary
        text = np.unique(self.index.links_Lx2[self.sides.train_N[self.index.links_Lx2[:, 1]], 0])
        return CharacterVocabulary.of_texts(self.index.text.chosen(text), self.least_count)

    def with_vocabulary(self, vocabulary: CaptionVocabulary) -> "ImageTextPairs":
        """The same pairs with tokens of another vocabulary, such as that of a text tower."""
        return dataclasses.replace(self, given_vocabulary=vocabulary)

    @property
    def fixed_views(self) -> bool:
        """Whether a picture is seen in one way only, in training and where it is held out."""
        steps = self.augment
        return steps == self.validation_augment and all(isinstance(step, DRAW_NOTHING) for step in steps)

    def with_features(self, make: Callable[["ImageTextPairs"], StoredFeatures]) -> "ImageTextPairs":
        """The same pairs with features in the place of pictures; made when the first source asks for them."""
        return dataclasses.replace(self, made_features=make)

    @functools.cached_property
    def features(self) -> StoredFeatures:
        """Those of `with_features`."""
        assert self.made_features is not None
        return self.made_features(self)

    def every_picture(self, batch_size: int) -> ValidationBatches:
        """The pictures of both sides, seen as held-out ones: image uint8 [B, 1, S, S, C], and place int32
        [B], -1 where a last batch is filled up."""
        places = range(len(self.pictures))
        task = PictureTask(TASK, 0, self.pictures, places, self.validation_augment, self.size)
        return ValidationBatches(task, batch_size)

    @functools.cached_property
    def trained(self) -> PairSet:
        """What is learnt from; with `shuffled`, every picture has the captions of another."""
        found = self._side(self.sides.train_N, self.augment)
        return found.shuffled() if self.shuffled else found

    @functools.cached_property
    def held_out(self) -> PairSet:
        """What is held out."""
        return self._side(self.sides.held_out_N, self.validation_augment)

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> Mixture:
        """Endless: every picture once in an epoch, each time with one of its captions."""
        return Mixture({TASK: (self.trained.drawn(), 1.0)}, batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> dict[str, ValidationBatches]:
        """Every right pair that is held out, once."""
        return {TASK: self.held_out.once(batch_size)} if self.held_out.picture_count else {}

    def fingerprint(self) -> str:
        """The vocabulary's hash."""
        return self.vocabulary.hash

    def order(self) -> dict[str, str]:
        """What decides the training stream besides its seed: pairs, sides, tokens and steps."""
        return {
            "pairs": self.prepared.root.name,
            "held_out": self.sides.identity,
            "augment": repr(list(self.augment)),
            "vocabulary": self.vocabulary.hash,
            "length": str(self.length),
            "shuffled": str(self.shuffled),
        }

    def notices(self) -> list[str]:
        """What a person must be told of the pairs, a line each; [] where nothing was wrong."""
        lines = noticing.lines(self.prepared.manifest, self.sides, self.pictures.hash_N, self.held_out)
        sides = (self.pictures.sides(place) for place in range(len(self.pictures)))
        if small := sum(min(height, width) < self.size for height, width in sides):
            lines.append(f"{small} pictures are smaller than pairs.size {self.size}, and enlarged")
        cut = sum(fitted(text, self.vocabulary, self.length)[1] for text in self.index.text)
        if cut:
            lines.append(
                f"{cut} of {len(self.index.text)} captions are longer than pairs.length {self.length} with "
                "their end, and are cut at a character"
            )
        if self.shuffled:
            lines.append("pairs.shuffled: every picture has the captions of another, for a control")
        return [f"pairs of {self.settings.path}: {line}" for line in lines]

    def _side(self, wanted_N: np.ndarray, steps: tuple[Augmentation, ...]) -> PairSet:
        tokens = CaptionTokens(self.vocabulary, self.length)
        index = self.index
        features = (lambda: self.features) if self.made_features else None
        return pair_set.chosen(
            self.pictures, index.text, index.links_Lx2, wanted_N, steps, self.size, tokens, features
        )


@gin.configurable
def pairs(
    path: str | None = None,
    captions: str = sources.CAPTIONS,
    size: int = 48,
    mode: Mode = "RGB",
    length: int = 32,
    augment: Sequence[Augmentation] | None = None,
    validation_augment: Sequence[Augmentation] | None = None,
    validation: str | None = None,
    validation_fraction: float = 0.1,
    least_count: int = 2,
    shuffled: bool = False,
    vocabulary: CaptionVocabulary | None = None,
    max_pixels: int = MAX_PIXELS,
    cache_dir: str | None = None,
) -> ImageTextPairs:
    """Pictures and captions.

    Args:
      path: must be given: drawn:shapes, which are drawn; a folder of captions.txt and images/, of
        SPLIT_imgs.tsv and SPLIT_texts.jsonl, of tar shards in WebDataset's layout, or of pictures and .txt of
        the same name.
      captions: name of the file with captions in a folder that has several.
      size: pixels of a view's side.
      mode: "RGB", or "L" for grey.
      length: tokens of a caption with its end; longer ones are cut at a character, and counted.
      augment: steps that make a view to train on; @RandomResizedCrop() of most of the picture when None. A
        flip is not among them: captions tell left from right.
      validation_augment: steps for what is held out; its middle, as large as fits, when None.
      validation: what is held out: a file with names of pictures, one a line, in `path` or elsewhere; or the
        name of a split of a source that has several. As the source says, or else a share, when None.
      validation_fraction: of pictures that is held out, where nothing else says which.
      least_count: how often a character must occur in what is learnt from to get an id.
      shuffled: the control: in training every picture has the captions of another one.
      vocabulary: makes the tokens; of the captions' characters when None.
      max_pixels: larger pictures are set aside unread.
      cache_dir: where the cache is; the user's when None.

    Raises:
      DataError: a value that cannot be.
    """
    if not path:
        raise DataError(
            "pairs.path is not set: say where pictures and captions are, --gin.pairs.path=DIR, or "
            "drawn:shapes for pairs that are drawn"
        )
    if size < 1 or least_count < 1:
        raise DataError(f"pairs.size {size} and pairs.least_count {least_count} must be at least 1")
    if length < 2:
        raise DataError(f"pairs.length {length} must be at least 2: a token and the end")
    if not 0 < validation_fraction < 1:
        raise DataError(f"pairs.validation_fraction {validation_fraction} must be between 0 and 1")
    if mode not in ("RGB", "L"):
        raise DataError(f"pairs.mode {mode!r}: it is 'RGB', or 'L' for grey")
    return ImageTextPairs(
        preparing.PairSettings(path, captions, max_pixels),
        size,
        mode,
        length,
        tuple((RandomResizedCrop(size, 0.8),) if augment is None else augment),
        tuple((Resize(size), CenterCrop(size)) if validation_augment is None else validation_augment),
        validation,
        validation_fraction,
        least_count,
        shuffled,
        vocabulary,
        Path(cache_dir) if cache_dir else cache.default_root(),
    )
