"""Writes golden.npz: three small models of transformers, what they were given and what they made of it.

    python tests/apps/language/conversion/golden.py

Weights are fp32 numbers that fp16 and bf16 hold exactly, and are stored so. Needs torch and transformers.
"""

import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("golden.npz")
ROWS = 224
SHAPE = {
    "vocab_size": ROWS,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 1,
    "num_decoder_layers": 2,
    "num_heads": 2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
}
KINDS = {
    "t5": {"feed_forward_proj": "relu"},
    "t5_v1_1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "mt5": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}


def model(kind: str):
    """A random model of transformers, in fp32; norms and biases are not at their initial values."""
    import torch
    from transformers import MT5Config, MT5ForConditionalGeneration, T5Config, T5ForConditionalGeneration

    torch.manual_seed(len(kind))
    make = (
        (MT5ForConditionalGeneration, MT5Config) if kind == "mt5" else (T5ForConditionalGeneration, T5Config)
    )
    made = make[0](make[1](**SHAPE, **KINDS[kind], decoder_start_token_id=0)).eval()
    if kind != "t5":  # version 5 ties these at first too
        made.lm_head.weight = torch.nn.Parameter(torch.empty(ROWS, SHAPE["d_model"]))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            drawn = torch.randn(parameter.shape) * 0.3
            drawn = 1 + drawn if "norm" in name else drawn
            parameter.copy_(torch.where(drawn.abs() < 1e-3, 0, drawn).bfloat16())
    return made


def tokens(source_length: int, target_length: int) -> dict[str, np.ndarray]:
    """Inputs of three lengths, padded with 0, and targets with theirs shifted right, int64."""
    rng = np.random.default_rng(source_length)
    inputs_BxS = rng.integers(3, ROWS, (3, source_length))
    for row, length in enumerate((source_length, source_length * 2 // 3, 1)):
        inputs_BxS[row, length:] = 0
    targets_BxT = rng.integers(3, ROWS, (3, target_length))
    return {
        "inputs": inputs_BxS,
        "targets": targets_BxT,
        "shifted": np.pad(targets_BxT, ((0, 0), (1, 0)))[:, :-1],
    }


def outputs(made, given: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Logits fp32 [B, T, V] of transformers, and its mean loss in nats per token."""
    import torch

    inputs_BxS = torch.tensor(given["inputs"])
    with torch.no_grad():
        found = made(
            input_ids=inputs_BxS,
            attention_mask=(inputs_BxS != 0).long(),
            labels=torch.tensor(given["targets"]),
        )
    return found.logits.numpy(), float(found.loss)


def main() -> None:
    arrays = {}
    given = tokens(30, 5)
    for kind in KINDS:
        made = model(kind)
        tied = () if kind != "t5" else ("lm_head.weight",)
        skipped = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", *tied)
        weights = {name: w.numpy() for name, w in made.state_dict().items() if name not in skipped}
        arrays |= {f"{kind}/tensors/{name}": w.astype(np.float16) for name, w in weights.items()}
        # As published files have it; version 5 writes "true" for all three.
        config = made.config.to_dict() | {"tie_word_embeddings": kind == "t5"}
        config["architectures"] = [type(made).__name__]
        config = {name: value for name, value in config.items() if name != "scale_decoder_outputs"}
        arrays[f"{kind}/config"] = np.array(json.dumps(config))
        arrays[f"{kind}/logits"], arrays[f"{kind}/loss"] = outputs(made, given)
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
