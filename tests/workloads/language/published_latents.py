"""The golden models of latent attention as this library has them (`latent_golden.py`)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.models.latent_attention import LatentWidths
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model.decoder import DecoderConfig

GOLDEN = np.load(Path(__file__).with_name("latent_golden.npz"))
WIDTHS = LatentWidths(rank=8, query_rank=12, plain=6, rotary=4, value=4)
SHAPE = {"vocab_size": 32, "d_model": 16, "d_ff": 24, "heads": 2, "layers": 2, "tied_head": False}
CONFIGS = {
    "ultra": DecoderConfig(**SHAPE, latent=WIDTHS, rope_theta=25.6e6, sandwich=True, predictions=1),
    "deepseek": DecoderConfig(
        **SHAPE, latent=LatentWidths(rank=8, plain=6, rotary=4, value=4, interleaved=False), rope_theta=1e4
    ),
}


def tree(kind: str, what: str) -> Tree:
    """Weights ("tensor") or gradients ("gradient") of a model of transformers, in this library's form."""
    found = {
        name.removeprefix(f"{kind}/{what}/"): jnp.asarray(GOLDEN[name], jnp.float32)
        for name in GOLDEN.files
        if name.startswith(f"{kind}/{what}/")
    }

    def layers(first: int, last: int) -> Tree:
        return jax.tree.map(
            lambda *parts: jnp.stack(parts), *(layer(found, kind, n) for n in range(first, last))
        )

    made = {
        "embedding": found["model.embed_tokens.weight"],
        "head": found["lm_head.weight"],
        "decoder": layers(0, 2),
        "decoder_norm": {"scale": found["model.norm.weight"]},
    }
    if kind == "ultra":
        own = "model.layers.2."
        join = found[f"{own}eh_proj.weight"]
        made["prediction"] = {
            "token_norm": {"scale": found[f"{own}enorm.weight"]},
            "hidden_norm": {"scale": found[f"{own}hnorm.weight"]},
            "join": join.reshape(join.shape[0], 2, -1),
            "block": layers(2, 3),
            "norm": {"scale": found[f"{own}shared_head.norm.weight"]},
        }
    return made


def layer(found: dict[str, jax.Array], kind: str, number: int) -> Tree:
    """One layer's."""
    get = lambda name: found[f"model.layers.{number}.{name}.weight"]  # noqa: E731
    heads = CONFIGS[kind].heads
    attention = {
        "down": get("self_attn.kv_a_proj_with_mqa").T,
        "norm": {"scale": get("self_attn.kv_a_layernorm")},
        "key_value": get("self_attn.kv_b_proj").T.reshape(WIDTHS.rank, heads, -1),
        "out": get("self_attn.o_proj").reshape(-1, heads, WIDTHS.value),
    }
    if kind == "ultra":
        attention["query_down"] = get("self_attn.q_a_proj").T
        attention["query_norm"] = {"scale": get("self_attn.q_a_layernorm")}
    query = get("self_attn.q_b_proj" if kind == "ultra" else "self_attn.q_proj")
    attention["query"] = query.T.reshape(-1, heads, WIDTHS.key)
    made = {
        "attention": attention,
        "attention_norm": {"scale": get("input_layernorm")},
        "feed_forward": {
            "gate": get("mlp.gate_proj").T,
            "up": get("mlp.up_proj").T,
            "down": get("mlp.down_proj"),
        },
    }
    if kind == "deepseek":
        return made | {"feed_forward_norm": {"scale": get("post_attention_layernorm")}}
    return made | {
        "attention_post_norm": {"scale": get("post_attention_layernorm")},
        "feed_forward_norm": {"scale": get("pre_mlp_layernorm")},
        "feed_forward_post_norm": {"scale": get("post_mlp_layernorm")},
    }


def windows() -> dict[str, jax.Array]:
    """The golden tokens, as a decoder alone is trained on them."""
    tokens_BxT = jnp.asarray(GOLDEN["tokens"], jnp.int32)
    inputs_BxT, targets_BxT = tokens_BxT[:, :-1], tokens_BxT[:, 1:]
    return {
        "decoder_input_tokens": inputs_BxT,
        "decoder_target_tokens": targets_BxT,
        "decoder_segment_ids": jnp.ones_like(inputs_BxT),
        "decoder_positions": jnp.broadcast_to(jnp.arange(inputs_BxT.shape[1]), inputs_BxT.shape),
        "decoder_loss_weights": jnp.ones(inputs_BxT.shape),
    }
