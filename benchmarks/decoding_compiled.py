"""One greedy step of a recipe's decoder, compiled for chips that need not be there: its memory and time.

Weights are bfloat16 and the cache is of `length` tokens for each of `batch` texts; a step reads all of both
and writes one token per text. Seconds are a compiler's schedule, counted as in docs/scaling.md: nothing runs.
`pangu plan --for generate --verify K` compiles the same step.

    pip install 'pangu-jax[tpu]'            # or [cuda-compile], for h100:1x8
    python -m benchmarks.decoding_compiled openpangu/7b.gin h100:1x8 --chips 1 [--batch 8] [--length 4096]
    python -m benchmarks.decoding_compiled openpangu/pro_moe_72b.gin v5p:2x2x1 --model 4
"""

import argparse
import time

from pangu_jax import recipes
from pangu_jax.apps.language.decoding import lowered_step
from pangu_jax.parallel.layout import Layout
from pangu_jax.planning import compiled_steps
from tpu_npu_backends import selection, topologies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", help="of a language model")
    parser.add_argument("topology", help="such as v5p:2x2x1, or h100:1x8")
    parser.add_argument("--chips", type=int, help="so many of its chips; all unless given")
    parser.add_argument("--model", type=int, default=1, help="Layout.model")
    parser.add_argument("--expert", type=int, default=1, help="Layout.expert")
    parser.add_argument("--batch", type=int, default=8, help="texts")
    parser.add_argument("--length", type=int, default=4096, help="tokens of each, read and written")
    parser.add_argument("--rows", type=int, default=12, help="of what takes longest")
    flags = parser.parse_args()
    topology = topologies.parse(flags.topology)
    selection.select("cpu")
    devices = topologies.devices(topology)[: flags.chips]
    layout = Layout(model=flags.model, expert=flags.expert).on(len(devices))
    decoder = lowered_step.of_recipe(recipes.load([flags.recipe]), flags.batch, flags.length)
    began = time.process_time()
    step = compiled_steps.compile_lowered(decoder.lower(layout, topology, devices), topology)
    spent = time.process_time() - began
    print(
        f"{flags.recipe} on {len(devices)} x {topology.chip.name}, {layout.describe()}: one token of each of"
    )
    print(f"{flags.batch} texts, {flags.length} tokens long; compiled in {spent:.0f} CPU-seconds")
    print(f"holds {step.bytes_per_device / 2**30:.2f} GiB a chip of {topology.chip.hbm_bytes / 2**30:.2f}")
    found = compiled_steps.cost(step, layout, topology, devices)
    if found is None:
        return
    seconds = found.compute_seconds + found.exposed_seconds
    print(f"{1e3 * seconds:.2f} ms a step: {flags.batch / seconds:,.0f} tokens/s by the count")
    for row in found.top[: flags.rows]:
        print(f"{1e3 * row.seconds:9.3f} ms  {row.count:4d} x  {row.name[:40]:<40}  {row.op_name[-70:]}")


if __name__ == "__main__":
    main()
