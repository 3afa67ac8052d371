"""From config.json of a published Pangu model to `DecoderConfig`.

What an entry means is from the published configuration classes; one that is not there has their default. The
biases of attention are the exception: files say `bias`, and where none says it the tensors do.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pangu_jax.apps.language.conversion.openpangu.classes import (
    DENSE,
    PRO,
    SIZES,
    ULTRA,
    architecture,
    one_vocabulary,
    require_read,
)
from pangu_jax.errors import UserError
from pangu_jax.models.experts import ExpertsConfig
from pangu_jax.models.latent_attention import LatentWidths
from pangu_jax.runs.exchange import json_entries
from pangu_jax.workloads.language.model.decoder import DecoderConfig

Fields = Callable[[], dict[str, Any]]


def to_ours(theirs: Mapping[str, Any], where: str, biases: bool, own_head: bool) -> DecoderConfig:
    """The configuration that config.json describes.

    Args:
      theirs: its entries.
      where: the file, for messages.
      biases: whether the tensors have those of attention.
      own_head: whether the tensors have a head.
    Raises:
      UserError: an entry is missing or says what our decoder cannot be, or contradicts the tensors.
    """
    require_read(theirs, where)
    theirs = one_vocabulary(theirs, where)
    sizes: dict[str, Any] = {ours: _size(theirs, name, where) for name, ours in SIZES.items()}
    if (said := _said(theirs, ("bias", "attention_bias", "qkv_bias"))) is not None and said != biases:
        have = "have" if biases else "have none of"
        raise UserError(
            f"{where} says bias {said}, and the tensors {have} attention's: bring config.json and tensors of "
            "one model"
        )
    tied = theirs.get("tie_word_embeddings", not own_head)
    if tied and own_head:
        raise UserError(
            f"{where} says that the head is the embedding (tie_word_embeddings), and there is a "
            "lm_head.weight: bring config.json and tensors of one model"
        )
    if not tied and not own_head:
        raise UserError(
            f"{where} says that the head is not the embedding, and there is no lm_head.weight: copy the file "
            "that has it"
        )
    if (act := theirs.get("hidden_act", "silu")) != "silu":
        raise UserError(f"{where}: hidden_act is {act!r}; published models have 'silu'")
    if scaling := _scaling(theirs):
        raise UserError(f"{where}: rope scaling {scaling!r} is not built here; published models have none")
    own = {DENSE: _dense, PRO: _pro, ULTRA: _ultra}[str(architecture(theirs))](theirs, where)
    theta, epsilon = _theta(theirs, where), json_entries.epsilon(theirs, "rms_norm_eps", 1e-5, where)
    try:
        made = own()
        return DecoderConfig(
            **{**sizes, **made}, biases=biases, rope_theta=theta, epsilon=epsilon, tied_head=bool(tied)
        )
    except ValueError as error:
        raise UserError(f"{where}: {error}; copy the file again") from None


def _dense(theirs: Mapping[str, Any], where: str) -> Fields:
    found = {
        "d_ff": _size(theirs, "intermediate_size", where),
        "kv_heads": _size(theirs, "num_key_value_heads", where),
        "head_dim": _optional_size(theirs, "head_dim", where),
    }
    return lambda: found


def _pro(theirs: Mapping[str, Any], where: str) -> Fields:
    if theirs.get("mlp_only_layers"):
        raise UserError(f"{where}: mlp_only_layers are not built here; the published model has none")
    experts = {
        "experts": _size(theirs, "num_experts", where),
        "active": _size(theirs, "num_experts_per_tok", where),
        "d_ff": _size(theirs, "moe_intermediate_size", where),
        "shared_d_ff": _optional_size(theirs, "shared_expert_intermediate_size", where) or 0,
        "balance": float(theirs.get("router_aux_loss_coef", 0.001)),
    }
    heads = {
        "kv_heads": _size(theirs, "num_key_value_heads", where),
        "head_dim": _optional_size(theirs, "head_dim", where),
    }
    return lambda: {**heads, "experts": ExpertsConfig(router="grouped", **experts)}


def _ultra(theirs: Mapping[str, Any], where: str) -> Fields:
    if theirs.get("norm_topk_prob") is False:
        raise UserError(f"{where}: norm_topk_prob false is not built here; the published model norms them")
    if (groups := theirs.get("n_group") or 1) != 1:
        raise UserError(f"{where}: n_group {groups} is not built here; the published model has none")
    latent = {
        "rank": _size(theirs, "kv_lora_rank", where),
        "query_rank": _optional_size(theirs, "q_lora_rank", where),
        "plain": _size(theirs, "qk_nope_head_dim", where),
        "rotary": _size(theirs, "qk_rope_head_dim", where),
        "value": _size(theirs, "v_head_dim", where),
        "interleaved": bool(theirs.get("rope_interleave", True)),
    }
    width = _size(theirs, "moe_intermediate_size", where)
    experts = {
        "experts": _size(theirs, "n_routed_experts", where),
        "active": _size(theirs, "num_experts_per_tok", where),
        "d_ff": width,
        "shared_d_ff": width * int(theirs.get("n_shared_experts") or 0),
        "factor": json_entries.epsilon(theirs, "routed_scaling_factor", 2.5, where),
    }
    found = {
        "d_ff": _size(theirs, "intermediate_size", where),
        "dense_layers": int(theirs.get("first_k_dense_replace") or 0),
        "predictions": int(theirs.get("num_nextn_predict_layers") or 0),
        "sandwich": theirs.get("sandwich_norm", True) is not False,
    }
    return lambda: {
        **found,
        "latent": LatentWidths(**latent),
        "experts": ExpertsConfig(router="sigmoid", **experts),
    }


def _said(theirs: Mapping[str, Any], names: tuple[str, ...]) -> bool | None:
    return next((bool(theirs[name]) for name in names if theirs.get(name) is not None), None)


def _size(theirs: Mapping[str, Any], name: str, where: str) -> int:
    value = theirs.get(name)
    if type(value) is not int or value < 1:
        raise UserError(f"{where}: {name} is {value!r} instead of a size; copy the file again")
    return value


def _optional_size(theirs: Mapping[str, Any], name: str, where: str) -> int | None:
    return None if theirs.get(name) is None else _size(theirs, name, where)


def _scaling(theirs: Mapping[str, Any]) -> Any:
    """What the file says of stretched rotary positions; None for none."""
    if theirs.get("rope_scaling"):
        return theirs["rope_scaling"]
    parameters = theirs.get("rope_parameters") or {}
    return parameters if parameters.get("rope_type", "default") != "default" else None


def _theta(theirs: Mapping[str, Any], where: str) -> float:
    given = [
        value
        for value in (theirs.get("rope_theta"), (theirs.get("rope_parameters") or {}).get("rope_theta"))
        if value is not None
    ]
    if not given:
        raise UserError(f"{where}: rope_theta is missing, and models differ in it; copy the file again")
    if len(set(given)) > 1:
        raise UserError(f"{where}: rope_theta is {given[0]} and {given[1]}; correct the file")
    return json_entries.epsilon({"rope_theta": given[0]}, "rope_theta", 1.0, where)
