"""T5 of transformers and of CTranslate2 with the weights of a model of ours, from a seed: the peers."""

from pathlib import Path

import jax
import numpy as np

from pangu_jax.apps.language.conversion import names
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

ACTIVATIONS = {("relu", False): "relu", ("gelu", True): "gated-gelu"}


def config(vocab_size: int, *, gated: bool = False, own_head: bool = False, **shape) -> EncoderDecoderConfig:
    """The formulation of T5, of T5 v1.1 (`gated`), and a head of its own as mT5 has."""
    d_model = shape.get("d_model", 512)
    return EncoderDecoderConfig(
        vocab_size=vocab_size,
        activation="gelu" if gated else "relu",
        gated=gated,
        position="relative",
        tied_head=not own_head,
        head_scale=1.0 if own_head else d_model**-0.5,
        attention_scale=1.0,
        **shape,
    )


def parameters(config: EncoderDecoderConfig, seed: int, spread: float = 1.0) -> Tree:
    """fp32 parameters from a seed of NumPy's: about what T5 starts with, times `spread`."""
    rng = np.random.default_rng(seed)
    params: Tree = {}
    for path, shape in names.shapes(config).items():
        *parents, leaf = path.split("/")
        deviation = 1.0 if leaf in ("embedding", "table") else shape[-1] ** -0.5
        if parents[-1:] in (["attention"], ["cross_attention"], ["feed_forward"]):
            deviation = config.d_model**-0.5 * (0.35 if leaf in ("qkv", "query") else 1.0)
        drawn = rng.standard_normal(shape, np.float32) * np.float32(spread * deviation)
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = 1 + np.float32(0.1) * drawn if leaf == "scale" else drawn
    return params


def peer(config: EncoderDecoderConfig, params: Tree):
    """A T5ForConditionalGeneration that computes the same."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=config.vocab_size,
            d_model=config.d_model,
            d_kv=config.width,
            d_ff=config.d_ff,
            num_heads=config.heads,
            num_layers=config.encoder_layers,
            num_decoder_layers=config.decoder_layers,
            relative_attention_num_buckets=config.relative_buckets,
            relative_attention_max_distance=config.relative_max_distance,
            feed_forward_proj=ACTIVATIONS[config.activation, config.gated],
            dropout_rate=0.0,
            tie_word_embeddings=config.tied_head,
            scale_decoder_outputs=config.tied_head,
            decoder_start_token_id=0,
            pad_token_id=0,
            eos_token_id=1,
        )
    ).eval()
    if not config.tied_head:  # release 5 ties them at first
        model.lm_head.weight = torch.nn.Parameter(torch.empty(config.vocab_size, config.d_model))
    state = model.state_dict()
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree.leaves_with_path(params)
    }
    with torch.no_grad():
        for path, pieces in names.pieces(config).items():
            for piece in pieces:
                state[piece.name].copy_(torch.from_numpy(piece.to_theirs(leaves[path])))
    return model


class _Tokens:
    """What CTranslate2's converter asks of a tokenizer: token number i is called `i`."""

    pad_token, eos_token, unk_token = "0", "1", "2"

    def __init__(self, vocabulary: int):
        self.get_vocab = lambda: {str(token): token for token in range(vocabulary)}
        self.convert_ids_to_tokens = str


def translator(model, vocabulary: int, folder: Path, threads: int):
    """CTranslate2's float32 translator of a T5ForConditionalGeneration, converted into `folder`."""
    import ctranslate2
    from ctranslate2.converters.transformers import T5Loader

    spec = T5Loader()(model, _Tokens(vocabulary))
    spec.validate()
    spec.optimize(quantization=None)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    return ctranslate2.Translator(
        str(folder), compute_type="float32", inter_threads=1, intra_threads=threads, device="cpu"
    )
