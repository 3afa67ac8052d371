"""From `DecoderConfig` to config.json of a published Pangu model: `config`, backwards."""

from collections.abc import Mapping
from typing import Any

from pangu_jax.apps.language.conversion.openpangu.classes import (
    ALIKE,
    DENSE,
    KINDS,
    PRO,
    SIZES,
    ULTRA,
    one_vocabulary,
)
from pangu_jax.errors import UserError
from pangu_jax.workloads.language.model.decoder import DecoderConfig

# What an entry that is not there was read as.
UNSAID: dict[str, Any] = {
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "bias": True,
    "head_dim": None,
    "q_lora_rank": None,
    "rope_interleave": True,
    "sandwich_norm": True,
    "routed_scaling_factor": 2.5,
    "router_aux_loss_coef": 0.001,
    "first_k_dense_replace": 0,
    "num_nextn_predict_layers": 0,
    "n_shared_experts": 0,
    "shared_expert_intermediate_size": 0,
}


def to_theirs(config: DecoderConfig, kept: Mapping[str, Any], where: str) -> dict[str, Any]:
    """config.json of a model; `kept` is the one that it was imported with, whose other entries stay.

    Raises:
      UserError: no published class has a way to say this.
    """
    for name, wanted in {"activation": "silu", "gated": True, "sandwich": config.latent is not None}.items():
        if (value := getattr(config, name)) != wanted:
            raise UserError(
                f"{where}: Decoder.{name} is {value!r}, and published models of this form have {wanted!r}: "
                "only models of their formulation can be exported"
            )
    named = ULTRA if config.latent else PRO if config.experts else DENSE
    if named == DENSE and config.predictions:
        raise UserError(f"{where}: Decoder.predictions is {config.predictions}, and {DENSE} has none")
    described: dict[str, Any] = {theirs: getattr(config, ours) for theirs, ours in SIZES.items()}
    described |= {"rms_norm_eps": config.epsilon, "rope_theta": config.rope_theta, "hidden_act": "silu"}
    described |= {"tie_word_embeddings": config.tied_head, "bias": config.biases}
    described |= _heads(config) | _feeds(config)
    if "rope_theta" not in kept and "rope_parameters" in kept:
        described.pop("rope_theta")
        described["rope_parameters"] = {**kept["rope_parameters"], "rope_theta": config.rope_theta}
    if kept:
        # What the file had said under another name, or not at all, is said so again.
        read = one_vocabulary(kept, where)
        described = {
            name: value for name, value in described.items() if name in read or value != UNSAID.get(name)
        }
        described = {
            ALIKE[name] if ALIKE.get(name) in kept else name: value for name, value in described.items()
        }
        return {**kept, **described}
    return {"architectures": [named], "model_type": KINDS[named].model_type, **described}


def _heads(config: DecoderConfig) -> dict[str, Any]:
    if widths := config.latent:
        return {
            "kv_lora_rank": widths.rank,
            "q_lora_rank": widths.query_rank,
            "qk_nope_head_dim": widths.plain,
            "qk_rope_head_dim": widths.rotary,
            "v_head_dim": widths.value,
            "rope_interleave": widths.interleaved,
            "sandwich_norm": config.sandwich,
            "num_nextn_predict_layers": config.predictions,
        }
    return {"num_key_value_heads": config.kv_heads, "head_dim": config.head_dim}


def _feeds(config: DecoderConfig) -> dict[str, Any]:
    own = config.experts
    if own is None:
        return {"intermediate_size": config.d_ff}
    found: dict[str, Any] = {"num_experts_per_tok": own.active, "moe_intermediate_size": own.d_ff}
    if own.router == "grouped":
        more = {"num_experts": own.experts, "shared_expert_intermediate_size": own.shared_d_ff}
        return found | more | {"router_aux_loss_coef": own.balance}
    return found | {
        "intermediate_size": config.d_ff,
        "n_routed_experts": own.experts,
        "n_shared_experts": own.shared_d_ff // own.d_ff,
        "routed_scaling_factor": own.factor,
        "first_k_dense_replace": config.dense_layers,
    }
