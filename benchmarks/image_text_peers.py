"""One optimizer step of two towers on one CPU core: this library, and ChineseCLIPModel in PyTorch, in turns.

A ViT of 64 pixels in patches of 8 and a BERT of 52 tokens of 21,128, each 256 wide and 6 layers deep with 4
heads; embeddings of 128, batch 64, AdamW, fp32, no dropout. Each lives in a process of its own on one core
with one thread, and they step in turns; what is compared is CPU-seconds, so that what else the machine does
counts as little as it can. Both have the same pictures, captions and first weights, and the losses are
printed: a step that is fast because it is wrong is seen.

    pip install torch==2.13.0 transformers==5.23.0     # the peer; without it, this library alone is timed
    python -m benchmarks.image_text_peers [--rounds 15] [--core 1] [--beside FOLDER]

FOLDER is a checkout of this library as it was: its step is timed as well.
"""

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np

from benchmarks import _turns
from benchmarks._turns import Worker

WIDTH, DEPTH, HEADS, HIDDEN, SIZE, PATCH = 256, 6, 4, 1024, 64, 8
IDS, LENGTH, EMBEDDING, BATCH = 21_128, 52, 128, 64
LEARNING_RATE, BETAS, DECAY = 1e-4, (0.9, 0.98), 0.01
WARM_UP = 3  # the first compiles; the next ones let each allocator settle
BAR = 0.85  # of the peer's CPU-seconds


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """The batch that both have: uint8 [B, size, size, 3] and int32 [B, length], padded with 0s."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
    tokens = rng.integers(200, IDS, (BATCH, LENGTH), np.int32)
    tokens[:, 0] = 101  # [CLS]
    long = rng.integers(8, LENGTH + 1, (BATCH, 1))
    return images, np.where(np.arange(LENGTH) < long, tokens, 0).astype(np.int32)


def draw_weights(folder: str) -> None:
    """Save a ChineseCLIPModel, from a seed."""
    import torch
    from transformers import ChineseCLIPConfig, ChineseCLIPModel

    torch.manual_seed(0)
    tower = {
        "hidden_size": WIDTH,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "intermediate_size": HIDDEN,
    }
    no = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    text = {**tower, **no, "vocab_size": IDS, "max_position_embeddings": LENGTH}
    image = {**tower, "image_size": SIZE, "patch_size": PATCH}
    config = ChineseCLIPConfig(text_config=text, vision_config=image, projection_dim=EMBEDDING)
    ChineseCLIPModel(config).save_pretrained(folder)


def pytorch(weights: str) -> Callable[[], float]:
    """A step of PyTorch: a function that makes one, and gives the loss."""
    import torch
    from transformers import ChineseCLIPModel

    from pangu_jax.apps.multimodal.conversion.chinese_clip import CHINESE_CLIP

    torch.set_num_threads(1)
    model = ChineseCLIPModel.from_pretrained(weights).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=DECAY, fused=True
    )
    images, tokens = (torch.from_numpy(array) for array in drawn())
    mean, deviation = (torch.tensor(values).reshape(3, 1, 1) for values in CHINESE_CLIP.pixels)
    tokens, mask = tokens.long(), (tokens > 0).long()

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        pixels = (images.permute(0, 3, 1, 2).float() / 255 - mean) / deviation
        found = model(input_ids=tokens, pixel_values=pixels, attention_mask=mask, return_loss=True)
        found.loss.backward()
        optimizer.step()
        return found.loss.item()

    return step


def ours(weights: str) -> Callable[[], float]:
    """A step of this library, as `pangu train` runs it."""
    from tpu_npu_backends import cpu

    cpu.one_arena()
    from benchmarks._image_text_ours import step

    return step(weights)


WORKERS = {"ours": ours, "ChineseCLIPModel": pytorch}


def serve(name: str, weights: str) -> None:
    """Worker: answers with the CPU-seconds of a step and its loss."""
    step = WORKERS[name](weights)
    for _ in range(WARM_UP):
        step()

    def timed(_: str) -> tuple[float, float]:
        start = time.process_time()
        loss = step()
        return time.process_time() - start, loss

    _turns.serve("ready", timed)


def main() -> None:
    """Run both in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="steps of each, in turns, after the warm-up")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core of all")
    parser.add_argument("--beside", metavar="FOLDER", help="a checkout of this library, timed as well")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--weights", default="", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    os.sched_setaffinity(0, {flags.core})  # and of the workers, which are started from here
    if flags.worker:
        serve(flags.worker, flags.weights)
        return
    with tempfile.TemporaryDirectory() as weights:
        report(measured(flags, weights))


def measured(flags: argparse.Namespace, weights: str) -> dict[str, list[tuple[float, float]]]:
    """Worker -> CPU-seconds and loss of each round."""
    names = list(WORKERS)
    if not importlib.util.find_spec("transformers"):
        print("transformers is not installed: no peer in this table")
        names.remove("ChineseCLIPModel")
        given: tuple[str, ...] = ()
    else:
        draw_weights(weights)
        given = ("--weights", weights)
    one = _turns.ONE_THREAD
    workers = {name: Worker("image_text_peers", name, given, environment=one) for name in names}
    if flags.beside:
        workers["before"] = Worker("image_text_peers", "ours", given, folder=flags.beside, environment=one)
    return _turns.take_turns(workers, flags.rounds)


def report(answers: dict[str, list[tuple[float, float]]]) -> None:
    """Medians, and ratios round by round."""
    taken = {name: [seconds for seconds, _ in each] for name, each in answers.items()}
    print(f"{'':<18}{'CPU-s/step':>11}{'min':>8}{'max':>8}{'pairs/CPU-s':>13}{'last loss':>11}")
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        print(
            f"{name:<18}{median:>11.3f}{min(seconds):>8.3f}{max(seconds):>8.3f}{BATCH / median:>13.1f}"
            f"{answers[name][-1][1]:>11.4f}"
        )
    for other in [name for name in taken if name != "ours"]:
        print(f"ours / {other}, pairs per CPU-second, {_turns.compared(taken['ours'], taken[other])}")
    if peer := taken.get("ChineseCLIPModel"):
        ratio = statistics.median(taken["ours"]) / statistics.median(peer)
        print(f"CPU-seconds of ours over the peer's: {ratio:.3f} (bar {BAR})")


if __name__ == "__main__":
    main()
