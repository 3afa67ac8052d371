"""Pairs of a source, looked at once: pictures that can be used, and which caption is right of which.

A cache (`data_pipelines.cache`) holds the encoded bytes of the pictures as `images.preparing` writes them,
and beside them `pairs.npz`: captions, links and names. Which pictures are held out, what a caption's tokens
are and how it is cut is not in it: a recipe may change them at any time.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_pipelines import cache
from data_pipelines.errors import DataError
from data_pipelines.images import preparing
from data_pipelines.images.splitting import told
from data_pipelines.pairs import shapes, sources, texts
from data_pipelines.pairs.caption import Caption
from data_pipelines.pairs.texts import CaptionTexts

FILE = "pairs.npz"
EMPTY = "empty"
LOST = "without a picture that can be used"
LONE = "without a caption"


class PairSettings(NamedTuple):
    """What a cache of pairs is made by.

    Attributes:
      path: see `sources`.
      captions: name of the file with captions, where a folder has several.
      max_pixels: larger pictures are set aside.
    """

    path: str
    captions: str
    max_pixels: int


class PairIndex:
    """What is known of pairs besides their pictures.

    Attributes:
      name: of every picture in the source, of copies too.
      place_M: of the picture that each name is of, int32.
      side_M: number in `sides` of each name, -1 where the source is not split.
      sides: names of splits.
      digest_N: of each picture's bytes.
      text: captions.
      links_Lx2: int32 (text, picture), every right pair once, by texts.
    """

    def __init__(self, found: cache.Cache):
        with np.load(found.root / FILE, allow_pickle=False) as arrays:
            self.name = CaptionTexts(arrays["name_bytes"], *arrays["name_edges"])
            self.text = CaptionTexts(arrays["text_bytes"], *arrays["text_edges"])
            self.place_M, self.side_M = arrays["place"], arrays["side"]
            self.digest_N, self.links_Lx2 = arrays["digest"], arrays["links"]
        self.sides: list[str] = found.manifest["sides"]


def prepare(settings: PairSettings, root: Path) -> cache.Cache:
    """The cache of these pairs in `root`; made first where it is not there.

    Raises:
      DataError: there is nothing at the path, or no pair that can be used.
    """
    drawn = settings.path == shapes.NAME
    listing = f"{shapes.NAME} {shapes.VERSION}" if drawn else preparing.listing(settings.path, "pairs")
    key = json.dumps([1, listing, settings])
    name = f"pairs-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return cache.open_or_build(root, name, lambda folder: build(settings, folder))


def build(settings: PairSettings, folder: Path) -> dict[str, Any]:
    """Fills the folder of a cache; gives its manifest."""
    source = sources.opened(settings.path, settings.captions)
    known, copies, set_aside = preparing.write_pictures(folder, source.pictures(), settings.max_pixels)
    if not known:
        raise DataError(f"pairs.path: {preparing.nothing(settings.path, source.skipped, set_aside)}")
    names = [(one.name, one.side, place) for place, one in enumerate(known)] + list(copies)
    places = {name: place for name, _, place in names}
    set_aside.pop("exact copies", None)  # nothing of them is left out: their captions are one picture's
    lost: Counter[str] = Counter()
    kept, links_Lx2 = _linked(source.captions(), places, lost)
    if lone := len(known) - len(np.unique(links_Lx2[:, 1])):
        set_aside[LONE] = lone
    if not len(links_Lx2):
        why = ", ".join(left_out(set_aside, lost, source.skipped)) or "no caption was found"
        raise DataError(f"pairs.path: {settings.path} has pictures, and no caption is of one ({why})")
    name = texts.made(one for one, _, _ in names)
    sides = sorted({side for _, side, _ in names if side})
    numbers: Mapping[str | None, int] = {side: number for number, side in enumerate(sides)}
    preparing.write_index(folder, known, np.array([told(one.side or "") == "validation" for one in known]))
    np.savez(
        folder / FILE,
        place=np.array([place for _, _, place in names], np.int32),
        side=np.array([numbers.get(side, -1) for _, side, _ in names], np.int32),
        digest=np.array([one.digest for one in known], str),
        links=links_Lx2,
        name_bytes=name.bytes_B,
        name_edges=np.stack([name.start_N, name.end_N]),
        text_bytes=kept.bytes_B,
        text_edges=np.stack([kept.start_N, kept.end_N]),
    )
    return {
        "format": 1,
        "path": settings.path,
        "max_pixels": settings.max_pixels,
        "classes": [],
        "pictures": len(known),
        "exact_copies": len(copies),
        "captions": len(kept),
        "sides": sides,
        "pictures_set_aside": dict(sorted(set_aside.items())),
        "captions_set_aside": dict(sorted(lost.items())),
        "skipped_files": dict(sorted(source.skipped.items())),
    }


def left_out(
    pictures: Mapping[str, int], captions: Mapping[str, int], skipped: Mapping[str, int]
) -> list[str]:
    """In words, what is left out by reason of pictures, of captions and of files."""
    parts = ("pictures", pictures), ("captions", captions), ("files and lines", skipped)
    return [
        f"{what}: {', '.join(f'{count} {reason}' for reason, count in counts.items())}"
        for what, counts in parts
        if counts
    ]


def _linked(
    captions: Iterable[Caption], places: Mapping[str, int], lost: Counter[str]
) -> tuple[CaptionTexts, np.ndarray]:
    """The captions that are of pictures that there are, and links int32 [L, 2]; the others are counted."""
    kept, links = [], []
    for caption in captions:
        text = " ".join(caption.text.split())
        found = {places[name] for name in caption.pictures if name in places}
        if not text:
            lost[EMPTY] += 1
        elif not found:
            lost[LOST] += 1
        else:
            links += [(len(kept), place) for place in sorted(found)]
            kept.append(text)
    return texts.made(kept), np.array(links, np.int32).reshape(-1, 2)
