"""MB of float32 per CPU-second: from a store of fields to batches, beside xarray; what packs a chunk best.

    python -m benchmarks.fields_reading [--rounds 5] [--degrees 1] [--states 12] [--data_dir ../shared/data]

States of Pangu-Weather's shape (13 levels of z, q, t, u, v; msl, u10, v10, t2m), random fields with energy at
large scales, are written to a store in a temporary folder and read in turns: states as training reads them,
the same arrays by xarray, windows of two in batches of 4 by `Mixture`, the moments that statistics are of.
CPU-seconds are those of the whole process, of all its threads; files are in the page cache. Then ERA5's own
fields (shared data, one degree, surface) are packed by several codecs, with the checksum.
"""

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from data_pipelines.fields import store as stores
from data_pipelines.fields.field_set import fields
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.statistics import State, moments
from data_pipelines.fields.store import FieldStore
from data_pipelines.fields.variables import FieldNames
from data_pipelines.fields.writing import write_store

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[1] / "../shared/data")
LEVELS = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
SCALES = {  # mean and deviation
    "z": (8e4, 3e3), "q": (3e-3, 1e-3), "t": (250, 12), "u": (8, 10), "v": (0, 8),
    "msl": (1.01e5, 1e3), "u10": (0, 5), "v10": (0, 5), "t2m": (285, 15),
}  # fmt: skip
NAMES = FieldNames(("z", "q", "t", "u", "v"), ("msl", "u10", "v10", "t2m"))
CODECS = {
    "none": None,
    "lz4 5, shuffle": BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=4),
    "lz4 5, bitshuffle (a store's)": BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=4),
    "zstd 1, shuffle": BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=4),
    "zstd 3, bitshuffle": BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=4),
}


def speed(nbytes: int, work: Callable[[], object]) -> float:
    """MB per CPU-second of `work`, which makes so many bytes."""
    began = time.process_time()
    work()
    return nbytes / 1e6 / (time.process_time() - began)


def field(rng: np.random.Generator, shape: tuple[int, int], name: str) -> np.ndarray:
    """float32 [H, W] with random phases and energy falling with the third power of the wave number."""
    rows, columns = np.fft.fftfreq(shape[0])[:, None] * shape[0], np.fft.rfftfreq(shape[1]) * shape[1]
    phases = np.exp(2j * np.pi * rng.random((shape[0], len(columns))))
    waves = np.fft.irfft2(phases * (1 + rows**2 + columns**2) ** -1.0, s=shape)
    mean, deviation = SCALES[name]
    return (mean + deviation * waves / waves.std()).astype(np.float32)


def state(shape: tuple[int, int], place: int) -> State:
    """A state of Pangu-Weather's variables."""
    rng = np.random.default_rng(place)
    upper = [[field(rng, shape, name) for name in NAMES.upper] for _ in LEVELS]
    return np.moveaxis(np.array(upper), 1, -1), np.stack([field(rng, shape, n) for n in NAMES.surface], -1)


def by_xarray(seen: xarray.Dataset, place: int) -> tuple[np.ndarray, np.ndarray]:
    """The same arrays as `FieldStore.read`."""
    now = seen.isel(time=place)
    return tuple(
        np.ascontiguousarray(now[list(of)].to_array().transpose(..., "variable").values)
        for of in (NAMES.upper, NAMES.surface)
    )


def reading(folder: Path, degrees: float, states: int, rounds: int) -> None:
    """Writes a store and reads it."""
    shape = round(180 / degrees) + 1, round(360 / degrees)
    grid = Grid(np.linspace(90, -90, shape[0]), np.arange(shape[1]) * degrees, np.array(LEVELS, float))
    times_N = np.datetime64("2020-01-01T00", "h") + 24 * np.arange(states)
    made, path = [state(shape, place) for place in range(2)], folder / "some.zarr"
    one = sum(part.nbytes for part in made[0])
    written = speed(states * one, lambda: write_store(path, grid, NAMES, times_N, lambda at: made[at % 2]))
    packed = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    print(f"{states} states of {one / 1e6:.1f} MB, {states * one / packed:.2f} times as large as their store")
    print(f"{written:>8,.0f}  written, statistics counted")
    stores.KEPT = 0  # a store too large to be kept in memory
    store, seen = FieldStore.open(path), xarray.open_zarr(path, chunks=None)
    source = fields(str(path), gap_hours=0, validation=0.4).train_source(4, seed=0)
    np.testing.assert_array_equal(by_xarray(seen, 1)[0], store.read(1)[0])
    one_state = functools.partial(store._chunks.fields, NAMES, slice(None))
    ways: dict[str, tuple[int, Callable[[int], object]]] = {
        "states": (1, store.read),
        "states by xarray": (1, functools.partial(by_xarray, seen)),
        "windows in batches": (8, source.batch),
        "moments": (1, lambda at: moments(one_state, [at])),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (count, way) in ways.items():
            steps = range(max(1, states // count))
            found[name].append(speed(len(steps) * count * one, functools.partial(_each, way, steps)))
    for name, speeds in found.items():
        print(f"{statistics.median(speeds):>8,.0f}  {name} ({min(speeds):,.0f} to {max(speeds):,.0f})")


def _each(way: Callable[[int], object], steps: range) -> None:
    for step in steps:
        way(step)  # and forget it


def packing(folder: Path, data: Path, rounds: int) -> None:
    """ERA5's fields by several codecs."""
    era5 = zarr.open_group(data / "weather" / "era5_week_1deg" / "era5_sample.zarr", mode="r")
    fields_VxNxHxW = np.stack([era5[name][:] for name in ("t2m", "u10", "v10", "msl")])
    nbytes, arrays, found = fields_VxNxHxW.nbytes, {}, {name: [] for name in CODECS}
    for number, (name, codec) in enumerate(CODECS.items()):
        arrays[name] = zarr.open_group(folder / f"{number}.zarr", mode="w").create_array(
            "x", shape=fields_VxNxHxW.shape, chunks=(1, 12, *fields_VxNxHxW.shape[2:]), dtype="float32",
            compressors=[*([codec] if codec else []), Crc32cCodec()],
        )  # fmt: skip
    for _ in range(rounds):
        for name, array in arrays.items():
            written = speed(nbytes, functools.partial(array.__setitem__, ..., fields_VxNxHxW))
            found[name].append((written, speed(nbytes, functools.partial(array.__getitem__, ...))))
    print(f"ERA5's t2m, u10, v10, msl, {nbytes / 1e6:.0f} MB: ratio, written, read")
    for name, array in arrays.items():
        written, read = (statistics.median(column) for column in zip(*found[name], strict=True))
        print(f"{nbytes / array.nbytes_stored():>8.2f}{written:>8,.0f}{read:>8,.0f}  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--degrees", type=float, default=1.0)
    parser.add_argument("--states", type=int, default=12, help="at least 4")
    parser.add_argument("--data_dir", type=Path, default=DATA)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print("MB of float32 per CPU-second, median of the rounds (least to most)")
        reading(Path(folder), flags.degrees, flags.states, flags.rounds)
        if (flags.data_dir / "weather").is_dir():
            packing(Path(folder), flags.data_dir, flags.rounds)
        else:
            print(
                f"there is no {flags.data_dir / 'weather'}: set --data_dir or PANGU_DATA_DIR for real fields"
            )


if __name__ == "__main__":
    main()
