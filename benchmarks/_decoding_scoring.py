"""The part of `decoding` that scores candidates: all at once against one per query."""

import argparse
import json
import lzma
import os
import statistics
import sys
import time
from pathlib import Path

from benchmarks.decoding import LABELS, shape


def scoring(flags: argparse.Namespace) -> None:
    """tnews under its labels: all candidates at once against one per query, on a slice of it, in turns."""
    import jax
    import numpy as np

    from benchmarks import _t5_peer
    from pangu_jax.apps.language.decoding.queries import Query
    from pangu_jax.apps.language.decoding.scoring import score
    from pangu_jax.workloads.language.model.forward import Forward

    config = shape(flags)
    params = jax.tree.map(jax.numpy.asarray, _t5_peer.parameters(config, 0))
    forward = Forward(config)
    lengths, labels = _tnews(flags.vocabulary)
    lengths = lengths[: flags.examples]
    rng = np.random.default_rng(0)
    asked = [Query(rng.integers(3, flags.vocabulary, n).astype(np.int32), candidates=labels) for n in lengths]
    apart = [Query(query.inputs, candidates=(label,)) for query in asked for label in labels]
    few = slice(0, flags.loop_examples), slice(0, flags.loop_examples * LABELS)

    def timed(queries) -> tuple[list, float, float]:
        start = time.perf_counter(), time.process_time()
        scores = score(forward, params, queries)
        return scores, time.perf_counter() - start[0], time.process_time() - start[1]

    for queries in (asked, asked[few[0]], apart[few[1]]):
        timed(queries)  # compiles
    together, *whole = timed(asked)
    ratios = []
    for _ in range(flags.rounds):
        _, *one = timed(asked[few[0]])
        loop, *many = timed(apart[few[1]])
        ratios.append([b / a for a, b in zip(one, many, strict=True)])
    difference = np.abs(np.concatenate(loop) - np.concatenate(together[few[0]])).max()
    print(f"tnews, {len(asked)} x {len(labels)}: {whole[0]:.1f} s, {whole[1]:.1f} CPU s")
    print(f"largest difference from one candidate per query: {difference:.1e}")
    for number, clock in enumerate(("wall", "CPU")):
        part = [ratio[number] for ratio in ratios]
        spread = f"{min(part):.1f} to {max(part):.1f}"
        print(f"{statistics.median(part):.1f} times as fast by {clock} time ({spread})")


def _tnews(vocabulary: int) -> tuple[list[int], tuple]:
    """Lengths of the texts in characters, about a token each, and random labels of two tokens."""
    import numpy as np

    data = Path(os.environ.get("PANGU_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
    file = data / "fewclue" / "tnews" / "test_public.json.xz"
    if not file.is_file():
        sys.exit(f"{file} is not there: set PANGU_DATA_DIR to the folder that holds fewclue/")
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        lengths = [len(json.loads(line)["sentence"]) + 1 for line in lines]
    rng = np.random.default_rng(1)
    labels = tuple(rng.integers(3, vocabulary, 2).astype(np.int32) for _ in range(LABELS))
    return lengths, labels
