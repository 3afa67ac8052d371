"""Parts of `gpu_session` about training: beside the peer, beside the compiler without a card, and large."""

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import _our_step, _turns, train_step

ABSENT = Path(__file__).parents[1] / "docs" / "results" / "gpu_compiled.json"
BASE, LARGE = "nlp/base.gin", "nlp/2b6.gin"
BASE_BATCH = 16
# Of a large model's windows on one card: the first that fits.
LARGE_BATCHES = (32, 16, 8, 4, 2, 1)


def part_small(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """bench/small beside transformers' T5, by batch: tokens/s in turns, MFU against the best product."""
    tiny, dtype = flags.size == "tiny", "float32" if flags.backend == "cpu" else "bfloat16"
    for batch in (2,) if tiny else (8, 64):
        asked = train_step.parsed(
            ["--backend", flags.backend, "--dtype", dtype, "--batch", str(batch)]
            + ["--steps", "1" if tiny else str(1280 // batch)]
            + (_shortened(batch, "synthetic_tokens") if tiny else [])
        )
        names = ["ours", *(["hugging face"] if train_step.has_peer() else []), "peak"]
        workers = _turns.start_together("train_step", names, train_step.arguments_of(asked))
        facts = {name: json.loads(worker.greeting) for name, worker in workers.items()}
        taken = _turns.take_turns(workers, flags.rounds)
        best = 2 * train_step.peak_size(asked) ** 3 / min(taken.pop("peak"))
        for name, seconds in taken.items():
            middle = statistics.median(seconds)
            row = {"who": name, "batch": batch, "dtype": dtype, "step_s": middle, "step_s_all": seconds}
            row |= {fact: v for fact, v in facts[name].items() if fact in ("attention", "torch", "compiled")}
            if tiny and name != "ours":
                yield {**row, "note": "of its whole shape: no comparison"}
                continue
            yield {
                **row,
                "tokens_per_s": facts["ours"]["tokens"] / middle,
                "flops_per_s": facts["ours"]["flops"] / middle,
                "of_best_product": facts["ours"]["flops"] / middle / best,
            }
        if "hugging face" not in taken:
            why = "torch and transformers are not both here"
            yield {"who": "hugging face", "batch": batch, "skipped": why}
        elif not tiny:
            yield {"batch": batch, "ours_beside_it": _turns.compared(taken["ours"], taken["hugging face"])}


def part_base(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """nlp/base.gin by kernel of attention: seconds, MFU, memory; and what was compiled without the card."""
    absent = json.loads(ABSENT.read_text("utf-8")) if ABSENT.is_file() else {}
    shortened = _shortened(2) if flags.size == "tiny" else [f"train.batch_size={BASE_BATCH}"]
    for kernel in ("flash", "plain"):
        try:
            row = _measured(flags, BASE, [*shortened, *_our_step.attention(kernel)])
        except Exception as error:
            yield {"asked": kernel, "error": f"{type(error).__name__}: {error}"[:300]}
            continue
        without = {chip: said for chip, said in absent.items() if chip.endswith(f", {kernel}")}
        yield {"asked": kernel, **row, "without_a_card": without}


def part_2b6(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """nlp/2b6.gin on one card, with the largest of a few batches that fits; what the others would take."""
    for batch in LARGE_BATCHES if flags.size == "full" else (2,):
        shortened = _shortened(batch) if flags.size == "tiny" else [f"train.batch_size={batch}"]
        row = _measured(flags, LARGE, ["Layout.fsdp=1", *shortened])
        yield row
        if "refused" not in row:
            return


def _shortened(batch: int, data: str = "corpus") -> list[str]:
    """Bindings of a recipe so cut short that a CPU steps it in milliseconds."""
    return [
        *("EncoderDecoder.d_model=32", "EncoderDecoder.heads=2", "EncoderDecoder.d_ff=64"),
        *("EncoderDecoder.encoder_layers=1", "EncoderDecoder.decoder_layers=1", f"train.batch_size={batch}"),
        *(f"{data}.encoder_length=32", f"{data}.decoder_length=16", "EncoderDecoder.unroll=1"),
        *("EncoderDecoder.vocab_size=512", f"{data}.vocabulary_size=512"),
    ]


def _measured(flags: argparse.Namespace, recipe: str, bindings: Sequence[str]) -> dict[str, Any]:
    """Of a recipe's step: compiled, refused in a line where it does not fit, or else run."""
    import gc

    from benchmarks._gpu_session_machine import data_sheet_flops

    gc.collect()  # the arrays of the one before
    prepared = _our_step.prepare(recipe, bindings, flags.backend)
    step = _our_step.OurStep(prepared)
    device = prepared.mesh.devices.flat[0]
    row = {**prepared.facts, "compile_s": round(step.compile_s, 1), "compiled_bytes": step.memory}
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit and step.bytes_held > limit:
        return {**row, "refused": f"holds {step.bytes_held / 2**30:.1f} GiB of {limit / 2**30:.1f}"}
    step.advance(2)
    several = [step.seconds(1 if flags.size == "tiny" else 5) for _ in range(flags.rounds)]
    middle, workload = statistics.median(several), prepared.workload
    flops = workload.flops_per_step(prepared.batch_size)
    peak = data_sheet_flops(prepared.backend)
    return {
        **row,
        "step_s": middle,
        "step_s_all": several,
        "tokens_per_s": workload.tokens_per_step(prepared.batch_size) / middle,
        "flops_per_s": flops / middle,
        "mfu": flops / middle / peak if peak else None,
        "peak_bytes_in_use": (device.memory_stats() or {}).get("peak_bytes_in_use"),
        "loss": float(step.advance()["loss"]),
    }
