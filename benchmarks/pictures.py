"""Pictures per CPU-second of one thread: the whole way to a batch, and a JPEG's way beside Pillow alone.

    python -m benchmarks.pictures [--rounds 5] [--data_dir ../shared/data]

Small: CIFAR-10, 32 x 32, kept decoded: drawn, augmented, stacked into batches of 128 by `Mixture`, as in
training. Large: CPLID's photos, 416 x 312, of which a part of a random place is decoded, cut and resized to
128 x 128: by this library from bytes in memory, and as torchvision's loaders do it, Pillow's whole decoding
and `resize(box=...)`. Both with bilinear interpolation, in turns.
"""

import argparse
import io
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.batches import Mixture
from data_pipelines.images import preparing
from data_pipelines.images.augment import Augmentation, ColorJitter, Flip, RandomCrop, RandomResizedCrop
from data_pipelines.images.batches import ENLARGED, Pictures, PictureTask
from data_pipelines.images.decoding import MAX_PIXELS, decode
from data_pipelines.images.picture import Fields
from data_pipelines.images.sources import PictureSource

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[1] / "../shared/data")
BATCH, BATCHES, PHOTOS, SIZE = 128, 40, 400, 128


def per_second(work: Callable[[], int]) -> float:
    """What `work` counts, per CPU-second of it."""
    began = time.process_time()
    count = work()
    return count / (time.process_time() - began)


def small(data: Path, rounds: int) -> None:
    """CIFAR-10 from its file to batches."""
    ways: dict[str, list[Augmentation]] = {
        "crop after padding, flip": [RandomCrop(32, 4), Flip()],
        "resized crop, flip, jitter": [RandomResizedCrop(32), Flip(), ColorJitter()],
    }
    with tempfile.TemporaryDirectory() as folder:
        settings = preparing.Settings(str(data / "vision" / "cifar10"), Fields(), 0.1, MAX_PIXELS)
        began = time.process_time()
        pictures = Pictures(preparing.prepare(settings, Path(folder)))
        looked = time.process_time()
        for place in range(len(pictures)):
            pictures.pixels(place)
        print(
            f"{len(pictures):,} pictures: looked at and cached in {looked - began:.0f} CPU s, decoded in "
            f"{time.process_time() - looked:.0f}"
        )
        places = pictures.places(held_out=False).tolist()
        for name, steps in ways.items():
            task = PictureTask("cifar10", 0, pictures, places, steps, 32)
            stream = Mixture({"cifar10": (task, 1.0)}, BATCH, 0)
            found = [
                per_second(lambda first=number * BATCHES, stream=stream: batches(stream, first))
                for number in range(rounds)
            ]
            print(f"{name:<36}{statistics.median(found):>8,.0f} ({min(found):,.0f} to {max(found):,.0f})")


def batches(stream: Mixture, first: int) -> int:
    """Pictures of some batches."""
    return sum(len(stream.batch(step)["label"]) for step in range(first, first + BATCHES))


def large(data: Path, rounds: int) -> None:
    """CPLID's photos: the part is of seven tenths of the shorter side, or of a random area."""
    found = PictureSource(str(data / "vision" / "cplid" / "cplid_416.parquet")).pictures()
    photos = [picture.data for picture, _ in zip(found, range(PHOTOS), strict=False)]
    sides = (312, 416)
    for name, least, most in (
        ("part of .7 of the side", 0.49, 0.49),
        ("part of .2 to 1 of the area", 0.2, 1.0),
    ):
        draws = np.random.default_rng(0)
        boxes = [square(sides, math.sqrt(draws.uniform(least, most)), draws) for _ in photos]
        ratios, speeds = [], []
        for _ in range(rounds):
            ours = per_second(
                lambda boxes=boxes: sum(cut(*pair, sides) for pair in zip(photos, boxes, strict=True))
            )
            theirs = per_second(
                lambda boxes=boxes: sum(pillow(*pair) for pair in zip(photos, boxes, strict=True))
            )
            ratios.append(ours / theirs)
            speeds.append((ours, theirs))
        mine, other = (statistics.median(column) for column in zip(*speeds, strict=True))
        print(
            f"{name:<36}{mine:>8,.0f}{other:>8,.0f} Pillow  {statistics.median(ratios):.2f} times "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


def square(sides: tuple[int, int], share: float, draws: np.random.Generator) -> tuple[int, int, int, int]:
    """A square of this share of the shorter side, anywhere."""
    side = round(min(sides) * share)
    return int(draws.integers(sides[0] - side + 1)), int(draws.integers(sides[1] - side + 1)), side, side


def cut(data: bytes, box: tuple[int, int, int, int], sides: tuple[int, int]) -> int:
    """As `PictureTask` does it."""
    at_least = math.ceil(ENLARGED * min(sides) * SIZE / min(box[2:]))
    return len(RandomResizedCrop(SIZE).cut(decode(data, at_least=at_least), box, sides)) // SIZE


def pillow(data: bytes, box: tuple[int, int, int, int]) -> int:
    """As loaders of torchvision do it."""
    top, left, rows, columns = box
    edges = left, top, left + columns, top + rows
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return len(np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, edges))) // SIZE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data_dir", type=Path, default=DATA)
    flags = parser.parse_args()
    if not (flags.data_dir / "vision").is_dir():
        sys.exit(f"there is no {flags.data_dir / 'vision'}: set --data_dir or PANGU_DATA_DIR")
    print("pictures per CPU-second, median of the rounds")
    small(flags.data_dir, flags.rounds)
    large(flags.data_dir, flags.rounds)


if __name__ == "__main__":
    main()
