"""One optimizer step of two small towers on one CPU core: this library, and open_clip in PyTorch, in turns.

A ViT of 48 pixels in patches of 8 (64 wide, 2 layers, 2 heads) beside a text transformer of one layer over 24
of 703 characters; embeddings of 64, contrast alone, batch 64, AdamW, fp32: the towers of
`multimodal/flickr8k.gin` without its decoder. Each lives in a process of its own; CPU-seconds are compared,
of one thread each on one core, or with --threads 2 of as many as each takes on two.

open_clip imports torchvision, of which no build fits torch 2.13.0's wheels for CPUs; nothing of it is used
here, so an empty package stands in for it.

    pip install torch==2.13.0; pip install --no-deps open_clip_torch==3.3.0 timm ftfy regex
    python -m benchmarks.open_clip_step [--rounds 20] [--threads 1]
"""

import argparse
import importlib.machinery
import importlib.util
import os
import statistics
import sys
import time
import types
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks import _turns
from benchmarks._turns import Worker

WIDTH, DEPTH, HEADS, SIZE, PATCH = 64, 2, 2, 48, 8
IDS, LENGTH, TEXT_DEPTH, EMBEDDING, BATCH = 703, 24, 1, 64, 64
LEARNING_RATE, BETAS, DECAY = 1e-3, (0.9, 0.98), 0.1
WARM_UP, STEPS = 3, 5  # steps before the first round, and of a round
BAR = 0.5  # of the peer's CPU-seconds


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """The batch: uint8 [B, size, size, 3] and int32 [B, length], its end the largest id, then 0s."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
    tokens = rng.integers(3, IDS - 1, (BATCH, LENGTH))
    end = rng.integers(4, LENGTH, (BATCH, 1))
    place = np.arange(LENGTH)
    return images, np.where(place < end, tokens, np.where(place == end, IDS - 1, 0)).astype(np.int32)


def open_clip(fused: bool = False) -> Callable[[], float]:
    """A step of open_clip, as its training script has it, or with PyTorch's fused AdamW instead: a function
    that makes one, and gives the loss."""
    import torch

    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional",
                 "torchvision.ops", "torchvision.ops.misc", "torchvision.models"):  # fmt: skip
        _stand_in(name)
    from open_clip.loss import ClipLoss
    from open_clip.model import CLIP

    torch.manual_seed(0)
    vision = {
        "image_size": SIZE,
        "layers": DEPTH,
        "width": WIDTH,
        "head_width": WIDTH // HEADS,
        "patch_size": PATCH,
    }
    text = {"context_length": LENGTH, "vocab_size": IDS, "width": WIDTH, "heads": HEADS, "layers": TEXT_DEPTH}
    model, loss_of = CLIP(EMBEDDING, vision, text).train(), ClipLoss()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=DECAY, fused=fused
    )
    images, tokens = (torch.from_numpy(array) for array in drawn())
    tokens = tokens.long()
    print(f"open_clip: {sum(p.numel() for p in model.parameters()):,} parameters", file=sys.stderr)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        pixels = (images.permute(0, 3, 1, 2).float() / 255 - 0.45) / 0.25
        loss = loss_of(*model(pixels, tokens))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


class _Nothing(type):
    """A class that has every name, of nothing."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing(name, (), {})


class _EmptyModule(types.ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing(name, (), {})


def _stand_in(name: str) -> None:
    """An empty package whose names are empty classes."""
    module = _EmptyModule(name)
    module.__path__ = []
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    sys.modules[name] = module
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, module)


def ours() -> Callable[[], float]:
    """A step of this library, as `pangu train` runs it."""
    from tpu_npu_backends import cpu

    cpu.one_arena()
    import jax

    from benchmarks import _image_text_ours as steps
    from data_pipelines.pairs.vocabulary import CharacterVocabulary
    from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
    from pangu_jax.workloads.multimodal import ImageTextModel
    from pangu_jax.workloads.multimodal.data import NoPairs
    from pangu_jax.workloads.vision.model.plain import PlainConfig

    image = PlainConfig(
        size=SIZE, patch=PATCH, d_model=WIDTH, layers=DEPTH, heads=HEADS, class_token=False, pooling="mean",
        unroll=DEPTH,
    )  # fmt: skip
    text = EncoderDecoderConfig(
        vocab_size=IDS + 1,
        d_model=WIDTH,
        d_ff=2 * WIDTH,
        heads=HEADS,
        encoder_layers=TEXT_DEPTH,
        decoder_layers=1,
    )
    model = ImageTextModel(image, text, NoPairs(SIZE, 3, LENGTH, CharacterVocabulary("")), EMBEDDING)
    train_step, state = steps.begun(model, betas=BETAS, rate=LEARNING_RATE, decay=DECAY)
    print(f"ours: {sum(leaf.size for leaf in jax.tree.leaves(state.params)):,} parameters", file=sys.stderr)
    return steps.stepping(train_step, state, *drawn())


WORKERS = {"ours": ours, "open_clip": open_clip, "open_clip, fused": partial(open_clip, fused=True)}


def serve(name: str) -> None:
    """Worker: answers with the CPU-seconds of a step, the mean of `STEPS`, and the last loss."""
    step = WORKERS[name]()
    for _ in range(WARM_UP):
        step()

    def timed(_: str) -> tuple[float, float]:
        start, loss = time.process_time(), 0.0
        for _ in range(STEPS):
            loss = step()
        return (time.process_time() - start) / STEPS, loss

    _turns.serve("ready", timed)


def main() -> None:
    """Run both in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="of each, in turns, after the warm-up")
    parser.add_argument("--threads", type=int, default=1, help="of each, on as many cores; 1")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-flags.threads :])
    if flags.worker:
        serve(flags.worker)
        return
    names = list(WORKERS)
    if not importlib.util.find_spec("open_clip"):
        print("open_clip is not installed: no peer in this table")
        names = names[:1]
    environment = _turns.ONE_THREAD if flags.threads == 1 else {}
    given = ("--threads", str(flags.threads))
    workers = {name: Worker("open_clip_step", name, given, environment=environment) for name in names}
    answers = _turns.take_turns(workers, flags.rounds)
    taken = {name: [seconds for seconds, _ in each] for name, each in answers.items()}
    print(f"{'':<18}{'CPU-s/step':>11}{'min':>8}{'max':>8}{'pairs/CPU-s':>13}{'last loss':>11}")
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        print(
            f"{name:<18}{median:>11.4f}{min(seconds):>8.4f}{max(seconds):>8.4f}{BATCH / median:>13.1f}"
            f"{answers[name][-1][1]:>11.4f}"
        )
    for name in names[1:]:
        ratio = statistics.median(taken["ours"]) / statistics.median(taken[name])
        print(f"ours / {name}, pairs per CPU-second, {_turns.compared(taken['ours'], taken[name])}")
        print(f"CPU-seconds of ours over those of {name}: {ratio:.3f} (bar {BAR})")


if __name__ == "__main__":
    main()
