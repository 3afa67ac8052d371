"""Generation and candidate scoring: beside transformers' and CTranslate2's T5, and beside a loop.

Generation: the small shape (d 512, ff 2048, 6 + 6 layers; fp32 on CPU), the same weights for both, 256
random tokens in for each of a batch of 8, 128 out, greedy and 4 beams; each library lives in a process of its
own, and they work in turn. The time of the encoder is measured too, as both spend it once and neither decodes
in it.
Scoring: FewCLUE tnews, test_public under 15 labels, against this library scoring one candidate per query.

    pip install torch==2.13.0 transformers==5.23.0 ctranslate2==4.8.5     # the peers, each if it is there
    python -m benchmarks.decoding [--rounds 3] [--vocabulary 8192] [--gated] [--threads 2] [--part scoring]
                                  [--beside FOLDER]
    python -m benchmarks.decoding --part generation --backend cuda --dtype bfloat16 [--batch 64]   # never run

FOLDER is a checkout of this library as it was (`git worktree add FOLDER COMMIT`): it is timed as well.
"""

import argparse
import importlib.util
import itertools
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import _turns
from benchmarks._turns import Worker

INPUTS, OUTPUTS = 256, 128
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

    config = shape(flags)
    backend = selection.select(flags.backend)
    placement = OneDevice(backend.native, backend.devices[0].platform)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, flags.dtype), _t5_peer.parameters(config, 0))
    forward = Forward(config, placement, dtype=jnp.dtype(flags.dtype))
    # no end: all tokens asked for
    generator = Generator(forward, jax.device_put(params, backend.devices[0]), flags.batch, end=-5)
    inputs = _inputs(flags)
    asked = [queries.Query(row) for row in inputs]
    encode = jax.jit(lambda params, tokens: generator.forward.encode(params, encoder_batch(tokens)))

    def generate(settings) -> None:
        made = generator.generate(asked, settings, OUTPUTS)
        assert sum(len(text.tokens) for text in made) == flags.batch * OUTPUTS

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
    config = shape(flags)
    device = torch.device("cuda" if flags.backend == "cuda" else "cpu")
    model = _t5_peer.peer(config, _t5_peer.parameters(config, 0)).to(device, getattr(torch, flags.dtype))
    inputs = torch.from_numpy(_inputs(flags)).long().to(device)

    def done() -> None:
        if flags.backend == "cuda":
            torch.cuda.synchronize()

    @torch.no_grad()
    def generate(beams: int) -> None:
        made = model.generate(
            inputs, num_beams=beams, do_sample=False, min_new_tokens=OUTPUTS, max_new_tokens=OUTPUTS
        )
        assert made.shape == (flags.batch, OUTPUTS + 1)
        done()

    @torch.no_grad()
    def encode() -> None:
        model.encoder(inputs)
        done()

    return {"encoder": encode, "greedy": lambda: generate(1), "beam 4": lambda: generate(4)}


def ctranslate2(flags: argparse.Namespace) -> dict:
    """Worker: CTranslate2's translator, float32."""
    import tempfile

    from benchmarks import _t5_peer

    config = shape(flags)
    with tempfile.TemporaryDirectory() as folder:
        model = _t5_peer.peer(config, _t5_peer.parameters(config, 0))
        translator = _t5_peer.translator(model, flags.vocabulary, Path(folder) / "model", flags.threads)
    asked = [[str(token) for token in row] for row in _inputs(flags)]

    def generate(beams: int, tokens: int = OUTPUTS) -> None:
        lengths = {"min_decoding_length": tokens, "max_decoding_length": tokens}
        made = translator.translate_batch(asked, beam_size=beams, max_input_length=0, **lengths)
        assert sum(len(text.hypotheses[0]) for text in made) == flags.batch * tokens

    return {
        "encoder": lambda: generate(1, 1),  # with one step: it has no call for the encoder alone
        "greedy": lambda: generate(1),
        "beam 4": lambda: generate(4),
    }


def shape(flags: argparse.Namespace):
    """T5's small one."""
    from benchmarks import _t5_peer

    widths = {"d_model": 512, "d_ff": 1024 if flags.gated else 2048, "heads": 8}
    return _t5_peer.config(flags.vocabulary, gated=flags.gated, **widths)


def _inputs(flags: argparse.Namespace):
    import numpy as np

    return np.random.default_rng(0).integers(3, flags.vocabulary, (flags.batch, INPUTS)).astype(np.int32)


def _serve(works: dict) -> None:
    """Answers a work's name with its seconds by the clock and of the CPU, of the second call at least."""

    warm: set[str] = set()

    def timed(way: str) -> tuple[float, float]:
        if way not in warm:
            works[way]()  # compiles
            warm.add(way)
        start = time.perf_counter(), time.process_time()
        works[way]()
        return time.perf_counter() - start[0], time.process_time() - start[1]

    _turns.serve("ready", timed)


WORKERS = {"pangu_jax": ours, "transformers": transformers, "ctranslate2": ctranslate2}
PACKAGES = {
    "transformers": ("torch", "transformers"),
    "ctranslate2": ("torch", "transformers", "ctranslate2"),
}


def peers(flags: argparse.Namespace) -> list[str]:
    """Those that are installed, and run on the backend."""
    able = [name for name in PACKAGES if flags.backend == "cpu" or name == "transformers"]
    return [name for name in able if all(map(importlib.util.find_spec, PACKAGES[name]))]


def arguments_of(flags: argparse.Namespace) -> list[str]:
    """The command line of a worker: only what is not the default, as a checkout of before knows no more."""
    asked = {"--backend": (flags.backend, "cpu"), "--dtype": (flags.dtype, "float32")}
    asked["--batch"] = flags.batch, 8
    return [
        *("--vocabulary", str(flags.vocabulary), "--threads", str(flags.threads)),
        *(["--gated"] if flags.gated else []),
        *itertools.chain.from_iterable((n, str(v)) for n, (v, usual) in asked.items() if v != usual),
    ]


def taking_turns(
    workers: Mapping[str, Worker], rounds: int, ways: Sequence[str] = tuple(WAYS)
) -> dict[tuple[str, str], list[Any]]:
    """(Worker, way) -> seconds by the clock and of the CPU, one pair a round; the workers are closed then."""
    taken: dict[tuple[str, str], list[Any]] = {(name, way): [] for name in workers for way in ways}
    for _ in range(rounds):
        for way in ways:
            for name, worker in workers.items():
                taken[name, way].append(worker.ask(way))
    for worker in workers.values():
        worker.close()
    return taken


def generation(flags: argparse.Namespace) -> None:
    """Both libraries in turns; medians and ratios round by round."""
    names = ["pangu_jax", *peers(flags)]
    for peer, packages in PACKAGES.items():
        if peer not in names:
            print(f"{' and '.join(packages)}: not all installed, or not for {flags.backend}: no {peer} here")
    workers = {name: Worker("decoding", name, arguments_of(flags)) for name in names}
    if flags.beside:
        names.append("before")
        workers["before"] = Worker("decoding", "pangu_jax", arguments_of(flags), folder=flags.beside)
    taken = taking_turns(workers, flags.rounds)
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
                line += f"{flags.batch * OUTPUTS / wall:>10.0f}{step:>12.1f}"
            print(line)
        for peer in names[1:]:
            pairs = list(zip(taken["pangu_jax", way], taken[peer, way], strict=True))
            for number, clock in enumerate(("wall", "CPU")):
                ratios = [theirs[number] / mine[number] for mine, theirs in pairs]
                print(
                    f"{way:<10}{statistics.median(ratios):.2f} times as fast as {peer} by {clock} time "
                    f"({min(ratios):.2f} to {max(ratios):.2f})"
                )


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each, in turns, after the warm-up")
    parser.add_argument("--vocabulary", type=int, default=8192, help="rows of the embedding table")
    parser.add_argument("--gated", action="store_true", help="T5 v1.1: gated-gelu of width 1024")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch; XLA uses the cores it is given")
    parser.add_argument("--backend", default="cpu", help="of generation: cpu or cuda")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="of generation")
    parser.add_argument("--batch", type=int, default=8, help="texts that are generated at once")
    parser.add_argument("--beside", metavar="FOLDER", help="a checkout of this library, timed as well")
    parser.add_argument("--part", choices=("generation", "scoring"), help="this part alone")
    parser.add_argument(
        "--examples", type=int, default=2010, help="examples that are scored; all unless given"
    )
    parser.add_argument("--loop_examples", type=int, default=100, help="of them, those that the loop scores")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Both parts, or one."""
    flags = parsed()
    os.environ.setdefault("JAX_PLATFORMS", flags.backend)
    if flags.worker:
        _serve(WORKERS[flags.worker](flags))
        return
    if flags.part != "scoring":
        generation(flags)
    if flags.part != "generation":
        from benchmarks import _decoding_scoring

        _decoding_scoring.scoring(flags)


if __name__ == "__main__":
    main()
