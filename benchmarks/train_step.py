"""One optimizer step: this library against Hugging Face's in PyTorch, in turns, in one sitting.

Both train the shape of gin/bench/small.gin (T5: d 512, ff 2048, 6 + 6 layers, vocabulary 8192, batch 8, 256
+ 128 tokens, AdamW, clipping; fp32 on CPU) or, with --decoder, that of gin/bench/decoder.gin (Llama with
biases of attention: d 512, ff 2048, 26 layers, 8 heads and 4 of keys, batch 4 of 256 tokens) on random
tokens. Each lives in a process of its own and they step in turn, so a machine that speeds up or slows down
does it to both. The machine's matmul peak is measured in every round.

    pip install torch==2.13.0 transformers==5.23.0     # the peer; without it, this library alone is timed
    python -m benchmarks.train_step [--decoder] [--rounds 5] [--beside FOLDER] [--gin.NAME=VALUE ...]
    python -m benchmarks.train_step --backend cuda --dtype bfloat16 --steps 20 [--batch 64]   # never run yet

FOLDER is a checkout of this library as it was (`git worktree add FOLDER COMMIT`): its step is timed as well.
"""

import argparse
import importlib.util
import itertools
import json
import statistics
import time
from collections.abc import Sequence

from benchmarks import _turns
from benchmarks._turns import Worker

RECIPES = {"t5": "bench/small.gin", "llama": "bench/decoder.gin"}
PEAK_SIZE, PEAK_SIZE_OF_A_CHIP = 2048, 8192
WARM_UP = 4  # the first compiles; the next ones let each allocator settle


def ours(flags: argparse.Namespace) -> None:
    """Worker: steps of this library, as `pangu train` runs them, by the recipe of a peer's shape."""
    import jax.numpy as jnp

    from benchmarks import _our_step

    bindings = [f"Layout.compute_dtype={flags.dtype!r}", *flags.bindings]
    prepared = _our_step.prepare(RECIPES[flags.peer], bindings, flags.backend)
    step = _our_step.OurStep(prepared)
    workload, batch_size = prepared.workload, prepared.batch_size
    facts = {"tokens": workload.tokens_per_step(batch_size), "flops": workload.flops_per_step(batch_size)}
    _serve(step.advance, flags, **facts, **prepared.facts, itemsize=jnp.dtype(flags.dtype).itemsize)


def hugging_face(flags: argparse.Namespace) -> None:
    """Worker: the same step by transformers' T5 or Llama, with PyTorch's fused AdamW and attention; on a GPU
    compiled by torch.compile, its bfloat16 by autocast over parameters of float32, as ours has them."""
    import torch

    torch.manual_seed(0)
    on_gpu = flags.backend == "cuda"
    device = torch.device("cuda" if on_gpu else "cpu")
    model, batch = _t5(flags) if flags.peer == "t5" else _llama(flags)
    model.to(device).train()
    batch = {name: tokens.to(device) for name, tokens in batch.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    forward = torch.compile(model) if on_gpu else model

    def advance(steps: int = 1) -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=flags.dtype == "bfloat16"):
                loss = forward(**batch, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        if on_gpu:
            torch.cuda.synchronize()

    attention = getattr(model.config, "_attn_implementation", "")
    _serve(advance, flags, attention=attention, torch=torch.__version__, compiled=on_gpu)


def _llama(flags: argparse.Namespace):
    """A model of bench/decoder.gin's shape, and a batch."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        attention_bias=True,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    tokens = torch.randint(2, 8192, (flags.batch or 4, 256))
    return LlamaForCausalLM(config), {"input_ids": tokens, "labels": tokens}


def _t5(flags: argparse.Namespace):
    """A model of bench/small.gin's shape, and a batch."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=8192,
        d_model=512,
        d_ff=2048,
        d_kv=64,
        num_heads=8,
        num_layers=6,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    try:
        model = T5ForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    except ValueError:  # releases without it for T5
        model = T5ForConditionalGeneration(config)
    inputs, labels = (torch.randint(2, 8192, (flags.batch or 8, length)) for length in (256, 128))
    return model, {"input_ids": inputs, "labels": labels}


def peak(flags: argparse.Namespace) -> None:
    """Worker: one product of two square matrices of random numbers."""
    import jax
    import jax.numpy as jnp

    from tpu_npu_backends import selection

    size = peak_size(flags)
    with jax.default_device(selection.select(flags.backend).devices[0]):
        a = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(flags.dtype))
        product = jax.jit(jnp.dot)

        def advance(steps: int = 1) -> None:
            for _ in range(steps):
                made = product(a, a)
            made.block_until_ready()

        _serve(advance, flags)


def peak_size(flags: argparse.Namespace) -> int:
    """Large enough for the speed of a large product."""
    return PEAK_SIZE if flags.backend.startswith("cpu") else PEAK_SIZE_OF_A_CHIP


def _serve(advance, flags: argparse.Namespace, **facts) -> None:
    """Greets with facts of the step, and answers with its seconds, the mean of so many in a row."""
    for _ in range(WARM_UP):
        advance()

    def timed(_: str) -> float:
        start = time.perf_counter()
        advance(flags.steps)
        return (time.perf_counter() - start) / flags.steps

    _turns.serve(json.dumps(facts), timed)


WORKERS = {"ours": ours, "hugging face": hugging_face, "peak": peak}


def arguments_of(flags: argparse.Namespace) -> list[str]:
    """The command line of a worker: only what is not the default, as a checkout of before knows no more."""
    asked = {"--backend": (flags.backend, "cpu"), "--dtype": (flags.dtype, "float32")}
    asked |= {"--steps": (flags.steps, 1), "--batch": (flags.batch, None)}
    return [
        *itertools.chain.from_iterable(
            (n, str(value)) for n, (value, usual) in asked.items() if value != usual
        ),
        *(["--decoder"] if flags.peer == "llama" else []),
        *(f"--gin.{binding}" for binding in flags.bindings),
    ]


def has_peer() -> bool:
    """Whether the peer is installed."""
    return bool(importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"))


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; more in it are bindings of the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each, after the warm-up")
    parser.add_argument("--steps", type=int, default=1, help="in a row, of a turn")
    parser.add_argument("--backend", default="cpu", help="cpu, or cuda, where the peer is compiled")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="of products")
    parser.add_argument("--batch", type=int, help="windows; the recipe's own unless given")
    parser.add_argument("--beside", metavar="FOLDER", help="a checkout of this library, timed as well")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--decoder", action="store_true", help="a decoder alone, beside Llama")
    flags, bindings = parser.parse_known_args(arguments)
    flags.peer = "llama" if flags.decoder else "t5"
    flags.bindings = [binding.removeprefix("--gin.") for binding in bindings]
    if flags.batch:
        flags.bindings = [f"train.batch_size={flags.batch}", *flags.bindings]
    return flags


def main() -> None:
    """Run all workers in turns and print the table."""
    flags = parsed()
    if flags.worker:
        WORKERS[flags.worker](flags)
        return
    names = ["ours", "peak"]
    if has_peer():
        names.insert(1, "hugging face")
    else:
        print("torch and transformers are not installed: no peer in this table")
    workers = {name: Worker("train_step", name, arguments_of(flags)) for name in names}
    if flags.beside:
        workers["before"] = Worker("train_step", "ours", arguments_of(flags), folder=flags.beside)
    taken = _turns.take_turns(workers, flags.rounds, {"peak": 5})
    report(taken, json.loads(workers["ours"].greeting), peak_size(flags))


def report(taken: dict[str, list[float]], facts: dict[str, float], size: int) -> None:
    """Medians, MFU against the best product seen, and the ratio step by step."""
    best = 2 * size**3 / min(taken.pop("peak"))
    print(f"{'':<14}{'s/step':>8}{'min':>8}{'max':>8}{'tokens/s':>10}{'of peak':>9}")
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        print(
            f"{name:<14}{median:>8.3g}{min(seconds):>8.3g}{max(seconds):>8.3g}"
            f"{facts['tokens'] / median:>10.0f}{facts['flops'] / median / best:>9.1%}"
        )
    print(f"peak: {best / 1e9:.0f} GFLOP/s ({size} x {size} product, best of all rounds)")
    for other in [name for name in taken if name != "ours"]:
        print(f"ours / {other}, tokens/s, {_turns.compared(taken['ours'], taken[other])}")


if __name__ == "__main__":
    main()
