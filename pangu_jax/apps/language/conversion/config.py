"""config.json of a Hugging Face T5 and `EncoderDecoderConfig`, each from the other.

T5, T5 v1.1 and mT5 differ from our default model in numbers that the configuration has: relative positions,
scores that are not scaled, and an output that T5 scales by d_model^-0.5 and v1.1 and mT5 do not.

Whether the head is the embedding is seen in the tensors, not by `tie_word_embeddings`: version 5 of
transformers writes true there for every T5, with or without a head of its own. What the entry does say, for
files without `scale_decoder_outputs`, is whether the output is scaled.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pangu_jax.errors import UserError
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

KINDS = ("t5", "mt5")
# `feed_forward_proj` -> activation, gated. T5's "gated-gelu" and "gelu_new" are GELU's tanh form, ours too.
FEED_FORWARD: dict[str, tuple[Literal["relu", "gelu", "silu"], bool]] = {
    "relu": ("relu", False),
    "gated-relu": ("relu", True),
    "gated-gelu": ("gelu", True),
    "gated-gelu_new": ("gelu", True),
    "gelu_new": ("gelu", False),
    "silu": ("silu", False),
    "gated-silu": ("silu", True),
}
SIZES = {
    "vocab_size": "vocab_size",
    "d_model": "d_model",
    "d_ff": "d_ff",
    "num_heads": "heads",
    "d_kv": "head_dim",
    "num_layers": "encoder_layers",
    "num_decoder_layers": "decoder_layers",
    "relative_attention_num_buckets": "relative_buckets",
    "relative_attention_max_distance": "relative_max_distance",
}
# What our forward pass and decoding take for granted.
FIXED = {
    "layer_norm_epsilon": 1e-6,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
    "is_encoder_decoder": True,
}


def require_kind(theirs: Mapping[str, Any], where: str) -> None:
    """UserError unless `model_type` is one that can be imported."""
    kind = theirs.get("model_type")
    if kind not in KINDS:
        why = "it has a table of positions in every layer" if kind == "umt5" else "only t5 and mt5 are read"
        raise UserError(f"{where}: model_type {kind!r} cannot be imported: {why}; give a T5, T5 v1.1 or mT5")


def to_ours(theirs: Mapping[str, Any], where: str, own_head: bool) -> EncoderDecoderConfig:
    """The configuration that config.json describes.

    Args:
      theirs: its entries.
      where: the file, for messages.
      own_head: whether the tensors hold a head that is not the embedding.
    Raises:
      UserError: it is no T5, or one that our model cannot be.
    """
    require_kind(theirs, where)
    kind = theirs["model_type"]
    for name, value in FIXED.items():
        if (found := theirs.get(name, value)) not in (value, None):
            raise UserError(f"{where}: {name} is {found!r}; only models with {value!r} can be imported")
    form = theirs.get("feed_forward_proj", "relu" if kind == "t5" else "gated-gelu")
    if not isinstance(form, str) or form not in FEED_FORWARD:
        more = ", the exact GELU," if form == "gelu" else ""
        raise UserError(
            f"{where}: feed_forward_proj {form!r}{more} is not supported; one of {', '.join(FEED_FORWARD)} is"
        )
    activation, gated = FEED_FORWARD[form]
    defaults = {
        "num_decoder_layers": theirs.get("num_layers"),
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
    }
    sizes = {ours: _size(theirs, name, defaults.get(name), where) for name, ours in SIZES.items()}
    dropout = theirs.get("dropout_rate", 0.1)
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise UserError(f"{where}: dropout_rate {dropout!r} is no rate; write a number from 0 to 1")
    return EncoderDecoderConfig(
        **sizes,
        activation=activation,
        gated=gated,
        position="relative",
        tied_head=not own_head,
        head_scale=sizes["d_model"] ** -0.5 if _scales_output(theirs, where) else 1.0,
        attention_scale=1.0,
        dropout=float(dropout),
    )


def _size(theirs: Mapping[str, Any], name: str, default: Any, where: str) -> int:
    value = theirs.get(name)
    value = default if value is None else value
    if type(value) is not int or value < 1:
        raise UserError(f"{where}: {name} is {value!r} instead of a size; copy the file again")
    return value


def _scales_output(theirs: Mapping[str, Any], where: str) -> bool:
    tied = theirs.get("tie_word_embeddings", True) is not False
    if theirs["model_type"] == "t5":
        return bool(theirs.get("scale_decoder_outputs", tied))
    if tied and _version(theirs) < 5:
        raise UserError(
            f"{where}: an mT5 with tie_word_embeddings has its output scaled by transformers 4 and not by 5; "
            'set "model_type": "t5" if it was trained with 4, else "tie_word_embeddings": false'
        )
    return False


def of_a_head_that_is_not_there(theirs: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """What is to be said, a line each, of a model whose tensors hold no head beside the embedding.

    Raises:
      UserError: config.json says that it has one, so that a tensor is missing.
    """
    if theirs.get("tie_word_embeddings", True) is not False:
        return ()
    if _version(theirs) < 5:
        raise UserError(
            f"{where} says that the head is not the embedding (tie_word_embeddings false), and there is no "
            'lm_head.weight: a file was not copied; if the model has none, write "tie_word_embeddings": true '
            'and "scale_decoder_outputs": false'
        )
    return ("no lm_head.weight: the embedding is the head, without a scale, as transformers 5 ties them",)


def _version(theirs: Mapping[str, Any]) -> int:
    """Major version of the transformers that wrote the file; 4 where it does not say."""
    major = str(theirs.get("transformers_version") or "4").split(".")[0]
    return int(major) if major.isdecimal() else 4


def to_theirs(config: EncoderDecoderConfig, origin: Mapping[str, Any], where: str) -> dict[str, Any]:
    """config.json of a model.

    Args:
      config: of the model.
      origin: the config.json it was imported with, whose other entries are kept; empty for none.
      where: the run directory, for messages.
    Raises:
      UserError: T5 has no way to say this.
    """
    scaled = config.d_model**-0.5
    needed = {
        "position": (config.position, "relative"),
        "attention_scale": (config.scale, 1.0),
        "head_scale": (config.head_scale, scaled if config.head_scale != 1.0 else 1.0),
    }
    for name, (value, wanted) in needed.items():
        if value != wanted:
            also = f" or {scaled!r}" if name == "head_scale" else ""
            raise UserError(
                f"{where}: EncoderDecoder.{name} is {value!r}, and a T5 has {wanted!r}{also}: "
                "only models of T5's formulation can be exported"
            )
    kind = origin.get("model_type", "t5") if config.head_scale == 1.0 else "t5"
    form = (config.activation, config.gated)
    spelling = origin.get("feed_forward_proj")
    if spelling is None or FEED_FORWARD.get(spelling) != form:
        spelling = next(name for name, known in FEED_FORWARD.items() if known == form)
    sizes = {theirs: getattr(config, ours) for theirs, ours in SIZES.items()}
    return {
        **origin,
        **FIXED,
        **sizes,
        "architectures": [f"{kind.upper()}ForConditionalGeneration"],
        "model_type": kind,
        "d_kv": config.width,
        "feed_forward_proj": spelling,
        "dropout_rate": config.dropout,
        # One for transformers 4, which also ties by it, and one for 5, which ties by the tensors.
        "tie_word_embeddings": config.head_scale != 1.0,
        "scale_decoder_outputs": config.head_scale != 1.0,
    }
