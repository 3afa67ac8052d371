"""The classes of published Pangu models, by what their config.json says."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pangu_jax.errors import UserError


class Kind(NamedTuple):
    """A class of published models.

    Attributes:
      name: what people call it.
      model_type: in config.json.
      end: the token that ends a turn, where config.json does not say it.
    """

    name: str
    model_type: str
    end: int = 45892


DENSE, PRO, ULTRA = "PanguEmbeddedForCausalLM", "PanguProMoEForCausalLM", "PanguUltraMoEForCausalLM"
# By `architectures` of config.json.
KINDS = {
    DENSE: Kind("openPangu-Embedded", "PanguEmbedded"),
    PRO: Kind("Pangu Pro MoE", "PanguProMoE"),
    ULTRA: Kind("openPangu-Ultra-MoE", "pangu_ultra_moe"),
}
# Published too, and not read: what of them our decoder has no form for.
REFUSED = {
    "PanguProMoEV2ForCausalLM": "sinks and partial rotary positions",
    "OpenPanguV2ForCausalLM": "sparse attention, streams and convolutions",
    "OpenPanguVLForConditionalGeneration": "its tower of pictures",
}
SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "d_model",
    "num_attention_heads": "heads",
    "num_hidden_layers": "layers",
}
# Two names for one entry, of the configuration classes before and after they took DeepSeek's.
ALIKE = {
    "q_lora_rank": "attention_q_lora_dim",
    "kv_lora_rank": "attention_kv_lora_dim",
    "qk_nope_head_dim": "attention_qk_dim",
    "qk_rope_head_dim": "attention_qk_rope_dim",
    "v_head_dim": "attention_v_dim",
    "n_routed_experts": "num_routed_experts",
    "n_shared_experts": "num_shared_experts",
    "first_k_dense_replace": "num_dense_layers",
    "num_nextn_predict_layers": "num_mtp_layers",
}
QUANTISED = ("quantization_config", "quantize", "quant_method")


def architecture(theirs: Mapping[str, Any]) -> str | None:
    """The published class that config.json names; None where it names another's."""
    named = theirs.get("architectures")
    first = named[0] if isinstance(named, list) and named else None
    return first if first in KINDS or first in REFUSED else None


def is_published(source: str | Path) -> bool:
    """Whether a folder's config.json names a published Pangu class; what is wrong with it is said later."""
    try:
        found = json.loads((Path(source) / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and architecture(found) is not None


def require_read(theirs: Mapping[str, Any], where: str) -> Kind:
    """The class of a model that can be imported; UserError for another."""
    named = architecture(theirs)
    if named in REFUSED:
        raise UserError(
            f"{where}: {named} cannot be imported: {REFUSED[named]} are not built here; "
            f"{', '.join(KINDS)} can"
        )
    if named not in KINDS:
        raise UserError(f"{where}: architectures {theirs.get('architectures')!r} is no published Pangu model")
    for entry in QUANTISED:
        if theirs.get(entry):
            raise UserError(
                f"{where}: {entry} says that its weights are quantised; only bf16, fp16 and fp32 are read: "
                "bring the folder without quantisation"
            )
    return KINDS[named]


def one_vocabulary(theirs: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The entries under the names that DeepSeek's files have; UserError where both are there and differ."""
    found = dict(theirs)
    for name, other in ALIKE.items():
        if other not in theirs:
            continue
        if name in theirs and theirs[name] != theirs[other]:
            raise UserError(
                f"{where}: {name} is {theirs[name]!r} and {other}, which means the same, {theirs[other]!r}; "
                "copy the file again"
            )
        found[name] = found.pop(other)
    return found
