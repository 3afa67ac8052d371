"""Generation and candidate scoring on CPU: beside transformers' and CTranslate2's T5, and beside a loop.

Generation: the small shape (d 512, ff 2048, 6 + 6 layers, fp32), the same weights for both, batch 8, 256
random tokens in, 128 out, greedy and 4 beams; each library lives in a process of its own, and they work in
turn. The time of the encoder is measured too, as both spend it once and neither decodes in it.
Scoring: FewCLUE tnews, test_public under 15 labels, against this library scoring one candidate per query.

    pip install torch==2.13.0 transformers==5.23.0 ctranslate2==4.8.5     # the peers, each if it is there
    python -m benchmarks.decoding [--rounds 3] [--vocabulary 8192] [--gated] [--threads 2] [--part scoring]
                                  [--beside FOLDER]

FOLDER is a checkout of this library as it was (`git worktree add FOLDER COMMIT`): it is timed as well.
"""

import argparse
import importlib.util
import json
import lzma
import os
import statistics
import sys
import time
from pathlib import Path

from benchmarks import _turns
from benchmarks._turns import Worker

BATCH, INPUTS, OUTPUTS = 8, 256, 128
WAYS = {"encoder": 0, "greedy": 1, "beam 4": 4}
LABELS = 15


def ours(flags: argparse.Namespace) -> dict:
    """Worker: `Generator`, as `pangu generate` runs it."""
    import jax
    import jax.numpy as jnp

    from benchmarks import _t5_peer
    from pangu_jax.apps.language.decoding import queries
    from pangu_jax.apps.language.decoding.generator import Generator
    from pangu_jax.apps.language.decoding.prefill import encoder_batch
    from pangu_jax.apps.language.decoding.settings import Beam, Greedy
    from pangu_jax.models.placement import OneDevice
    from pangu_jax.workloads.language.model.forward import Forward
    from tpu_npu_backends import selection

    config = _shape(flags)
    forward = Forward(config, OneDevice(selection.select("cpu").native))
    generator = Generator(forward, _t5_peer.parameters(config, 0), end=-5)  # no end: all tokens asked for
    inputs = _inputs(flags)
    asked = [queries.Query(row) for row in inputs]
    encode = jax.jit(lambda params, tokens: generator.forward.encode(params, encoder_batch(tokens)))

    def generate(settings) -> None:
        made = generator.generate(asked, settings, OUTPUTS)
        assert sum(len(text.tokens) for text in made) == BATCH * OUTPUTS

    return {
        "encoder": lambda: encode(generator.params, jnp.asarray(inputs)).block_until_ready(),
        "greedy": lambda: generate(Greedy()),
        "beam 4": lambda: generate(Beam(beams=4)),
    }


def transformers(flags: argparse.Namespace) -> dict:
    """Worker: generate() of T5ForConditionalGeneration."""
    import torch

    from benchmarks import _t5_peer

    torch.set_num_threads(flags.threads)
    config = _shape(flags)
    model = _t5_peer.peer(config, _t5_peer.parameters(config, 0))
    inputs = torch.from_numpy(_inputs(flags)).long()

    @torch.no_grad()
    def generate(beams: int) -> None:
        made = model.generate(
            inputs, num_beams=beams, do_sample=False, min_new_tokens=OUTPUTS, max_new_tokens=OUTPUTS
        )
        assert made.shape == (BATCH, OUTPUTS + 1)

    @torch.no_grad()
    def encode() -> None:
        model.encoder(inputs)

    return {"encoder": encode, "greedy": lambda: generate(1), "beam 4": lambda: generate(4)}


def ctranslate2(flags: argparse.Namespace) -> dict:
    """Worker: CTranslate2's translator, float32."""
    import tempfile

    from benchmarks import _t5_peer

    config = _shape(flags)
    with tempfile.TemporaryDirectory() as folder:
        model = _t5_peer.peer(config, _t5_peer.parameters(config, 0))
        translator = _t5_peer.translator(model, flags.vocabulary, Path(folder) / "model", flags.threads)
    asked = [[str(token) for token in row] for row in _inputs(flags)]

    def generate(beams: int, tokens: int = OUTPUTS) -> None:
        lengths = {"min_decoding_length": tokens, "max_decoding_length": tokens}
        made = translator.translate_batch(asked, beam_size=beams, max_input_length=0, **lengths)
        assert sum(len(text.hypotheses[0]) for text in made) == BATCH * tokens

    return {
        "encoder": lambda: generate(1, 1),  # with one step: it has no call for the encoder alone
        "greedy": lambda: generate(1),
        "beam 4": lambda: generate(4),
    }


def _shape(flags: argparse.Namespace):
    from benchmarks import _t5_peer

    shape = {"d_model": 512, "d_ff": 1024 if flags.gated else 2048, "heads": 8}
    return _t5_peer.config(flags.vocabulary, gated=flags.gated, **shape)


def _inputs(flags: argparse.Namespace):
    import numpy as np

    return np.random.default_rng(0).integers(3, flags.vocabulary, (BATCH, INPUTS)).astype(np.int32)


def _serve(works: dict) -> None:
    """Answers the name of a work with its seconds by the clock and of the CPU."""
    for work in works.values():
        work()  # compiles

    def timed(way: str) -> tuple[float, float]:
        start = time.perf_counter(), time.process_time()
        works[way]()
        return time.perf_counter() - start[0], time.process_time() - start[1]

    _turns.serve("ready", timed)


WORKERS = {"pangu_jax": ours, "transformers": transformers, "ctranslate2": ctranslate2}
PACKAGES = {
    "transformers": ("torch", "transformers"),
    "ctranslate2": ("torch", "transformers", "ctranslate2"),
}


def generation(flags: argparse.Namespace) -> None:
    """Both libraries in turns; medians and ratios round by round."""
    names = ["pangu_jax"]
    for peer, packages in PACKAGES.items():
        if all(map(importlib.util.find_spec, packages)):
            names.append(peer)
        else:
            print(f"{' and '.join(packages)} are not all installed: no {peer} in this table")
    arguments = [
        *("--vocabulary", str(flags.vocabulary), "--threads", str(flags.threads)),
        *(["--gated"] if flags.gated else []),
    ]
    workers = {name: Worker("decoding", name, arguments) for name in names}
    if flags.beside:
        names.append("before")
        workers["before"] = Worker("decoding", "pangu_jax", arguments, folder=flags.beside)
    taken = {(name, way): [] for name in names for way in WAYS}
    for _ in range(flags.rounds):
        for way in WAYS:
            for name, worker in workers.items():
                taken[name, way].append(worker.ask(way))
    for worker in workers.values():
        worker.close()
    middle = {
        key: [statistics.median(part) for part in zip(*rounds, strict=True)] for key, rounds in taken.items()
    }
    print(f"{'':<10}{'':<14}{'seconds':>9}{'CPU s':>9}{'tokens/s':>10}{'ms per step':>12}")
    for way in WAYS:
        for name in names:
            wall, cpu = middle[name, way]
            line = f"{way:<10}{name:<14}{wall:>9.2f}{cpu:>9.2f}"
            if WAYS[way]:
                step = (wall - middle[name, "encoder"][0]) / OUTPUTS * 1e3
                line += f"{BATCH * OUTPUTS / wall:>10.0f}{step:>12.1f}"
            print(line)
        for peer in names[1:]:
            pairs = list(zip(taken["pangu_jax", way], taken[peer, way], strict=True))
            for number, clock in enumerate(("wall", "CPU")):
                ratios = [theirs[number] / mine[number] for mine, theirs in pairs]
                print(
                    f"{way:<10}{statistics.median(ratios):.2f} times as fast as {peer} by {clock} time "
                    f"({min(ratios):.2f} to {max(ratios):.2f})"
                )


def scoring(flags: argparse.Namespace) -> None:
    """tnews under its labels: all candidates at once against one per query, on a slice of it, in turns."""
    import jax
    import numpy as np

    from benchmarks import _t5_peer
    from pangu_jax.apps.language.decoding.queries import Query
    from pangu_jax.apps.language.decoding.scoring import score
    from pangu_jax.workloads.language.model.forward import Forward

    config = _shape(flags)
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


def main() -> None:
    """Both parts, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each, in turns, after the warm-up")
    parser.add_argument("--vocabulary", type=int, default=8192, help="rows of the embedding table")
    parser.add_argument("--gated", action="store_true", help="T5 v1.1: gated-gelu of width 1024")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch; XLA uses the cores it is given")
    parser.add_argument("--beside", metavar="FOLDER", help="a checkout of this library, timed as well")
    parser.add_argument("--part", choices=("generation", "scoring"), help="this part alone")
    parser.add_argument(
        "--examples", type=int, default=2010, help="examples that are scored; all unless given"
    )
    parser.add_argument("--loop_examples", type=int, default=100, help="of them, those that the loop scores")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if flags.worker:
        _serve(WORKERS[flags.worker](flags))
        return
    for part in (generation, scoring):
        if flags.part in (None, part.__name__):
            part(flags)


if __name__ == "__main__":
    main()
