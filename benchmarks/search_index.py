"""Searching an index of pictures' vectors: brute force, the exact kind and the approximate one.

100,000 vectors of width 256 and 512; 200 queries, one at a time and in batches of 64. A picture's vector is
drawn around one of 2,000 centres, since pictures are not spread evenly over a sphere, and a query is near a
picture. Median milliseconds a query, by the clock and of CPU time; the share of the true ten nearest that was
found; and the machine's matmul peak, by which a batch is bound, as a single query is by memory.

    python -m benchmarks.search_index [--vectors 100000] [--queries 200] [--json FILE]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pangu_jax.apps.multimodal import vector_index
from pangu_jax.apps.multimodal.vector_index import NearestVectors, VectorIndex

WIDTHS = (256, 512)
WANTED = 10
BATCH = 64
CENTRES = 2000
PEAK_SIZE = 2048
Search = Callable[[np.ndarray], NearestVectors]


def drawn(vectors: int, queries: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """fp32 of length 1: [vectors, width] and [queries, width]."""
    rng = np.random.default_rng(0)

    def around(centre_NxE: np.ndarray, noise: float) -> np.ndarray:
        noise_NxE = rng.standard_normal(centre_NxE.shape, np.float32)
        return vector_index.unit(centre_NxE + noise * noise_NxE)

    centre_CxE = rng.standard_normal((CENTRES, width), np.float32)
    vectors_NxE = around(centre_CxE[rng.integers(CENTRES, size=vectors)], 0.7)
    return vectors_NxE, around(vectors_NxE[rng.integers(vectors, size=queries)], 0.7 / width**0.5)


class Timed(NamedTuple):
    """Medians in milliseconds a query, and the numbers found."""

    wall: float
    cpu: float
    number_QxK: np.ndarray


def timed(search: Search, query_QxE: np.ndarray, size: int) -> Timed:
    """Queries in batches of `size`."""
    search(query_QxE[:size])
    found, milliseconds = [], []
    for start in range(0, len(query_QxE), size):
        part_BxE = query_QxE[start : start + size]
        began = time.perf_counter(), time.process_time()
        found.append(search(part_BxE).number_QxK)
        ended = time.perf_counter(), time.process_time()
        milliseconds.append([1000 * (b - a) / len(part_BxE) for a, b in zip(began, ended, strict=True)])
    return Timed(*map(statistics.median, zip(*milliseconds, strict=True)), np.concatenate(found))


def plain_numpy(vectors_NxE: np.ndarray) -> Search:
    """What one would write down: a product and the best of it."""

    def search(query_QxE: np.ndarray) -> NearestVectors:
        cosine_QxN = query_QxE @ vectors_NxE.T
        number_QxK = np.argpartition(-cosine_QxN, WANTED)[:, :WANTED]
        cosine_QxK = np.take_along_axis(cosine_QxN, number_QxK, axis=1)
        order = np.argsort(-cosine_QxK, axis=1, kind="stable")
        return NearestVectors(*(np.take_along_axis(of, order, axis=1) for of in (number_QxK, cosine_QxK)))

    return search


def gflops() -> float:
    """Of a product of two [2048, 2048] matrices, the best of five."""
    a = np.random.default_rng(0).standard_normal((PEAK_SIZE, PEAK_SIZE), np.float32)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        _ = a @ a
        seconds.append(time.perf_counter() - began)
    return 2 * PEAK_SIZE**3 / min(seconds) / 1e9


def recall(own_QxK: np.ndarray, true_QxK: np.ndarray) -> float:
    """Share of the true ones that were found."""
    pairs = zip(own_QxK.tolist(), true_QxK.tolist(), strict=True)
    return statistics.fmean(len({*own} & {*true}) / WANTED for own, true in pairs)


def measured(name: str, vectors_NxE: np.ndarray, query_QxE: np.ndarray) -> tuple[dict, np.ndarray]:
    """A row, and what was found one query at a time."""
    peak, began = gflops(), time.perf_counter()
    if name == "numpy":
        search = plain_numpy(vectors_NxE)
    else:
        index = VectorIndex.build(vectors_NxE, name)

        def search(query_QxE: np.ndarray) -> NearestVectors:
            return index.search(query_QxE, WANTED)

    row = {"width": vectors_NxE.shape[1], "search": name, "build": time.perf_counter() - began}
    alone, together = (timed(search, query_QxE, size) for size in (1, BATCH))
    assert recall(alone.number_QxK, together.number_QxK) > 0.999 or name == "approximate"
    row |= {"alone": alone.wall, "alone, CPU": alone.cpu}
    row |= {f"by {BATCH}": together.wall, f"by {BATCH}, CPU": together.cpu, "GFLOP/s": peak}
    return row, alone.number_QxK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the figures there")
    flags = parser.parse_args()
    rows = []
    for width in WIDTHS:
        vectors_NxE, query_QxE = drawn(flags.vectors, flags.queries, width)
        true_QxK: np.ndarray | None = None
        for name in ("numpy", *vector_index.KINDS):
            row, found_QxK = measured(name, vectors_NxE, query_QxE)
            true_QxK = found_QxK if true_QxK is None else true_QxK
            rows.append(row | {"recall": recall(found_QxK, true_QxK)})
            if len(rows) == 1:
                print("".join(f"{title:>13}" for title in rows[0]), "(build: s, searches: ms a query)")
            cells = (f"{v:.3f}" if isinstance(v, float) else v for v in rows[-1].values())
            print("".join(f"{cell:>13}" for cell in cells), flush=True)
    if flags.json:
        flags.json.write_text(json.dumps({"vectors": flags.vectors, "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
