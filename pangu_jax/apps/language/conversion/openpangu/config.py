"""config.json of a published Pangu model and `DecoderConfig`, each from the other.

What an entry means is from the published configuration classes; one that is not there has their default. The
biases of attention are the exception: files say `bias`, and where none says it the tensors do.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pangu_jax.errors import UserError
from pangu_jax.runs.exchange import json_entries
from pangu_jax.workloads.language.model.decoder import DecoderConfig


class Kind(NamedTuple):
    """A class of published models.

    Attributes:
      name: what people call it.
      end: the token that ends a turn, where config.json does not say it.
    """

    name: str
    end: int


# By `architectures` of config.json.
KINDS = {"PanguEmbeddedForCausalLM": Kind("openPangu-Embedded", 45892)}
# Published too, and not read yet: what of them our decoder has no form for.
REFUSED = {
    "PanguProMoEForCausalLM": "its grouped experts",
    "PanguProMoEV2ForCausalLM": "sinks and partial rotary positions",
    "PanguUltraMoEForCausalLM": "latent attention and experts",
    "OpenPanguV2ForCausalLM": "sparse attention, streams and convolutions",
    "OpenPanguVLForConditionalGeneration": "its tower of pictures",
}
SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "d_model",
    "intermediate_size": "d_ff",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "num_hidden_layers": "layers",
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
    head_dim, theta = _optional_size(theirs, "head_dim", where), _theta(theirs, where)
    epsilon = json_entries.epsilon(theirs, "rms_norm_eps", 1e-5, where)
    try:
        return DecoderConfig(
            **sizes,
            head_dim=head_dim,
            biases=biases,
            rope_theta=theta,
            epsilon=epsilon,
            tied_head=bool(tied),
        )
    except ValueError as error:
        raise UserError(f"{where}: {error}; copy the file again") from None


def to_theirs(config: DecoderConfig, kept: Mapping[str, Any], where: str) -> dict[str, Any]:
    """config.json of a model; `kept` is the one that it was imported with, whose other entries stay.

    Raises:
      UserError: no published class has a way to say this.
    """
    for name, wanted in {"activation": "silu", "gated": True, "sandwich": False}.items():
        if (value := getattr(config, name)) != wanted:
            raise UserError(
                f"{where}: Decoder.{name} is {value!r}, and PanguEmbeddedForCausalLM has {wanted!r}: "
                "only models of its formulation can be exported"
            )
    described = {theirs: getattr(config, ours) for theirs, ours in SIZES.items()}
    described |= {"rms_norm_eps": config.epsilon, "tie_word_embeddings": config.tied_head}
    described |= {"bias": config.biases, "rope_theta": config.rope_theta, "hidden_act": "silu"}
    if "rope_theta" not in kept and "rope_parameters" in kept:
        described.pop("rope_theta")
        described["rope_parameters"] = {**kept["rope_parameters"], "rope_theta": config.rope_theta}
    if config.head_dim is not None or "head_dim" in kept:
        described["head_dim"] = config.width
    fresh = {"architectures": ["PanguEmbeddedForCausalLM"], "model_type": "PanguEmbedded"}
    # What the file had not said stays unsaid where it is the default that we read it with.
    silent = {
        name for name in ("bias", "hidden_act", "rms_norm_eps", "tie_word_embeddings") if name not in kept
    }
    if kept:
        described = {name: value for name, value in described.items() if name not in silent}
    return {**fresh, **kept, **described}


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
