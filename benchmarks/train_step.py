"""One optimizer step on CPU: this library against Hugging Face's in PyTorch, in turns, in one sitting.

Both train the shape of gin/bench/small.gin (T5: d 512, ff 2048, 6 + 6 layers, vocabulary 8192, batch 8, 256
+ 128 tokens, fp32, AdamW, clipping) or, with --decoder, that of gin/bench/decoder.gin (Llama with biases of
attention: d 512, ff 2048, 26 layers, 8 heads and 4 of keys, batch 4 of 256 tokens) on random tokens. Each
lives in a process of its own and they step in turn, so a machine that speeds up or slows down does it to
both. The machine's matmul peak is measured in every round.

    pip install torch==2.13.0 transformers==5.23.0     # the peer; without it, this library alone is timed
    python -m benchmarks.train_step [--decoder] [--rounds 5] [--beside FOLDER] [--gin.NAME=VALUE ...]

FOLDER is a checkout of this library as it was (`git worktree add FOLDER COMMIT`): its step is timed as well.
"""

import argparse
import importlib.util
import json
import statistics
import time

from benchmarks import _turns
from benchmarks._turns import Worker

RECIPES = {"t5": "bench/small.gin", "llama": "bench/decoder.gin"}
PEAK_SIZE = 2048
WARM_UP = 4  # the first compiles; the next ones let each allocator settle


def ours(peer: str, bindings: list[str]) -> None:
    """Worker: steps of this library, as `pangu train` runs them, by the recipe of a peer's shape."""
    import jax
    import jax.numpy as jnp

    from pangu_jax import recipes
    from pangu_jax.models.placement import OneDevice
    from pangu_jax.parallel import feed
    from pangu_jax.parallel.layout import Layout
    from pangu_jax.parallel.mesh import make_mesh
    from pangu_jax.recipes.functions import TRAIN
    from pangu_jax.training import step
    from pangu_jax.training.optimizers import adamw
    from pangu_jax.workloads import RunContext
    from pangu_jax.workloads.language import LanguageModel
    from tpu_npu_backends import selection

    recipe = recipes.load([RECIPES[peer]], bindings, function=TRAIN)
    recipes.apply(recipe)
    batch_size = recipe.value("train.batch_size")
    backend = selection.select("cpu")
    layout = Layout().on(len(backend.devices))
    mesh = make_mesh(layout, list(backend.devices))
    workload, optimizer = LanguageModel(), adamw()
    options = {"batch_size": batch_size, "seed": 0, "compiler_options": backend.compiler_options}
    run = RunContext(OneDevice(backend.native), "none", jnp.dtype("float32"))
    train_step = step.make_train_step(workload, optimizer, run, layout, mesh, **options)
    state = step.init_state(workload, optimizer, mesh, 0)
    batches = feed.batches(workload.train_source(batch_size, 0), mesh, batch_size, 0)

    def advance() -> None:
        nonlocal state
        state, _ = train_step(state, next(batches))
        jax.block_until_ready(state)

    flops = workload.flops_per_step(batch_size)
    _serve(advance, tokens=workload.tokens_per_step(batch_size), flops=flops)


def hugging_face(peer: str, _: list[str]) -> None:
    """Worker: the same step by transformers' T5 or Llama, with PyTorch's fused AdamW and attention."""
    import torch

    torch.manual_seed(0)
    model, batch = _t5() if peer == "t5" else _llama()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)

    def advance() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(**batch, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    _serve(advance)


def _llama():
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
    tokens = torch.randint(2, 8192, (4, 256))
    return LlamaForCausalLM(config), {"input_ids": tokens, "labels": tokens}


def _t5():
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
    inputs, labels = (torch.randint(2, 8192, (8, length)) for length in (256, 128))
    return model, {"input_ids": inputs, "labels": labels}


def peak(_: str, __: list[str]) -> None:
    """Worker: one product of two [2048, 2048] matrices."""
    import jax
    import jax.numpy as jnp

    a = jax.random.normal(jax.random.key(0), (PEAK_SIZE, PEAK_SIZE))
    product = jax.jit(jnp.dot)
    _serve(lambda: product(a, a).block_until_ready())


def _serve(advance, **facts) -> None:
    """Greets with facts of the step, and answers with its seconds."""
    for _ in range(WARM_UP):
        advance()

    def timed(_: str) -> float:
        start = time.perf_counter()
        advance()
        return time.perf_counter() - start

    _turns.serve(json.dumps(facts), timed)


WORKERS = {"ours": ours, "hugging face": hugging_face, "peak": peak}


def main() -> None:
    """Run all workers in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="steps of each, in turns, after the warm-up")
    parser.add_argument("--beside", metavar="FOLDER", help="a checkout of this library, timed as well")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--decoder", action="store_true", help="a decoder alone, beside Llama")
    flags, bindings = parser.parse_known_args()
    peer = "llama" if flags.decoder else "t5"
    if flags.worker:
        WORKERS[flags.worker](peer, [binding.removeprefix("--gin.") for binding in bindings])
        return
    names = ["ours", "peak"]
    if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
        names.insert(1, "hugging face")
    else:
        print("torch and transformers are not installed: no peer in this table")
    bindings = [*(["--decoder"] if flags.decoder else []), *bindings]
    workers = {name: Worker("train_step", name, bindings) for name in names}
    if flags.beside:
        workers["before"] = Worker("train_step", "ours", bindings, folder=flags.beside)
    taken = _turns.take_turns(workers, flags.rounds, {"peak": 5})
    report(taken, json.loads(workers["ours"].greeting))


def report(taken: dict[str, list[float]], facts: dict[str, float]) -> None:
    """Medians, MFU against the best product seen, and the ratio step by step."""
    best = 2 * PEAK_SIZE**3 / min(taken.pop("peak"))
    print(f"{'':<14}{'s/step':>8}{'min':>8}{'max':>8}{'tokens/s':>10}{'of peak':>9}")
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        print(
            f"{name:<14}{median:>8.2f}{min(seconds):>8.2f}{max(seconds):>8.2f}"
            f"{facts['tokens'] / median:>10.0f}{facts['flops'] / median / best:>9.1%}"
        )
    print(f"peak: {best / 1e9:.0f} GFLOP/s ({PEAK_SIZE} x {PEAK_SIZE} product, best of all rounds)")
    for other in [name for name in taken if name != "ours"]:
        print(f"ours / {other}, tokens/s, {_turns.compared(taken['ours'], taken[other])}")


if __name__ == "__main__":
    main()
