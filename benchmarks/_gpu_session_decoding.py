"""The part of `gpu_session` about decoding: tokens/s beside transformers' generate, in turns."""

import argparse
import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks import _turns, decoding

WAY = "greedy"


def part_decoding(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Greedy decoding of the small shape by batch: tokens/s, and milliseconds of a step."""
    tiny, dtype = flags.size == "tiny", "float32" if flags.backend == "cpu" else "bfloat16"
    for batch in (1,) if tiny else (8, 64):
        asked = decoding.parsed(["--backend", flags.backend, "--dtype", dtype, "--batch", str(batch)])
        names = ["pangu_jax", *[name for name in decoding.peers(asked) if name == "transformers"]]
        arguments = decoding.arguments_of(asked)
        workers = _turns.start_together("decoding", names, arguments)
        taken = decoding.taking_turns(workers, flags.rounds, ("encoder", WAY))
        seconds = {key: [wall for wall, _ in rounds] for key, rounds in taken.items()}
        for name in names:
            middle = statistics.median(seconds[name, WAY])
            encoder = statistics.median(seconds[name, "encoder"])
            yield {
                "who": name,
                "batch": batch,
                "dtype": dtype,
                "tokens_per_s": batch * decoding.OUTPUTS / middle,
                "ms_per_step": (middle - encoder) / decoding.OUTPUTS * 1e3,
                "seconds_all": seconds[name, WAY],
            }
        if "transformers" in names:
            ratio = _turns.compared(seconds["pangu_jax", WAY], seconds["transformers", WAY])
            yield {"batch": batch, "ours_beside_it": ratio}
        else:
            yield {
                "who": "transformers",
                "batch": batch,
                "skipped": "torch and transformers are not both here",
            }
