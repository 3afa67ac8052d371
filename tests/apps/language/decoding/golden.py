"""Writes golden.npz: what transformers' T5 writes with the weights of three small models, by every setting.

    python -m tests.apps.language.decoding.golden

Weights come from a seed of NumPy's, so the file holds tokens only. Needs torch and transformers.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _t5_peer
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.settings import Beam, Greedy, Settings
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

FILE = Path(__file__).with_name("golden.npz")
ROWS, TOKENS = 300, 24
SHAPE = {
    "d_model": 16,
    "d_ff": 24,
    "heads": 2,
    "head_dim": 6,
    "encoder_layers": 2,  # as many as the decoder: transformers' cache counts these
    "decoder_layers": 2,
    "relative_buckets": 8,
    "relative_max_distance": 20,
}
KINDS = {
    "t5": _t5_peer.config(ROWS, **SHAPE),
    "t5_v1_1": _t5_peer.config(ROWS, gated=True, own_head=True, **SHAPE),
    "tied_v1_1": _t5_peer.config(ROWS, gated=True, **SHAPE),
}
SETTINGS: dict[str, tuple[Settings, dict[str, Any]]] = {
    "greedy": (Greedy(), {}),
    "careful": (
        Greedy(repetition_penalty=1.4, no_repeat_ngram=2),
        {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
    ),
    "beam": (Beam(), {"num_beams": 4}),
    "long_beam": (
        Beam(beams=3, length_penalty=2.0, early_stopping="never"),
        {"num_beams": 3, "length_penalty": 2.0, "early_stopping": "never"},
    ),
    "short_beam": (
        Beam(beams=3, length_penalty=0.5, early_stopping=True, no_repeat_ngram=3),
        {"num_beams": 3, "length_penalty": 0.5, "early_stopping": True, "no_repeat_ngram_size": 3},
    ),
}


def parameters(config: EncoderDecoderConfig) -> Tree:
    """Decided enough to leave no near ties, varied, and with ends in reach."""
    params = _t5_peer.parameters(config, 1, spread=1.5)
    params["embedding"] *= np.float32(0.4)  # a tied head would repeat the token it is given
    params["embedding" if config.tied_head else "head"][1] *= np.float32(2.2)
    return params


def queries() -> list[Query]:
    """Inputs of several lengths, some with a given prefix."""
    rng = np.random.default_rng(5)
    return [
        Query(rng.integers(3, ROWS, n).astype(np.int32), rng.integers(3, ROWS, m).astype(np.int32))
        for n, m in ((30, 0), (7, 0), (1, 0), (12, 0), (21, 0), (16, 3), (5, 3), (9, 3))
    ]


def written_by_transformers(model, setting: dict[str, Any]) -> np.ndarray:
    """Tokens after each prefix without the end, padded with 0, int32 [queries, TOKENS]."""
    import torch

    out = np.zeros((len(queries()), TOKENS), np.int32)
    for row, query in enumerate(queries()):
        start = torch.tensor([[0, *query.prefix]])
        with torch.no_grad():
            made = model.generate(
                torch.tensor(query.inputs[None]).long(),
                decoder_input_ids=start,
                max_new_tokens=TOKENS,
                do_sample=False,
                **setting,
            )
        tokens = made[0, start.shape[1] :].numpy()
        tokens = tokens[: np.flatnonzero(tokens == 1)[0]] if (tokens == 1).any() else tokens
        out[row, : len(tokens)] = tokens
    return out


def main() -> None:
    """All models by all settings."""
    tables = {}
    for kind, config in KINDS.items():
        model = _t5_peer.peer(config, parameters(config))
        for name, (_, setting) in SETTINGS.items():
            tables[f"{kind}/{name}"] = written_by_transformers(model, setting)
    np.savez_compressed(FILE, **tables)


if __name__ == "__main__":
    main()
