"""What both kinds of config.json have in common: sizes of a tower, its GELU, and what is refused."""

from collections.abc import Mapping
from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.runs.exchange import json_entries

# Their names of GELUs, by ours.
GELUS: dict[str, str] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
}
TOWER = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
OURS = {"hidden_size": "d_model", "num_hidden_layers": "layers", "num_attention_heads": "heads"}
PICTURES = {"image_size": "size", "patch_size": "patch", "num_channels": "channels"}


def part(theirs: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """`name`_config of a config.json, changed by `name`_config_dict where an older version wrote one."""
    found: dict[str, Any] = {}
    for key in (f"{name}_config", f"{name}_config_dict"):
        value = theirs.get(key)
        if not isinstance(value, dict | None):
            raise UserError(f"{where}: {key} is no object; copy the file again")
        found |= value or {}
    return found


def tower(theirs: Mapping[str, Any], where: str) -> dict[str, Any]:
    """d_model, layers, heads and ratio of a tower."""
    found: dict[str, Any] = {
        ours: json_entries.size(theirs, name, TOWER[name], where) for name, ours in OURS.items()
    }
    hidden = json_entries.size(theirs, "intermediate_size", TOWER["intermediate_size"], where)
    return found | {"ratio": hidden / found["d_model"]}


def gelu(theirs: Mapping[str, Any], default: str, where: str) -> str:
    """Our name of a tower's activation; UserError for one that is no GELU."""
    act = theirs.get("hidden_act", default)
    if not isinstance(act, str) or act not in GELUS:
        raise UserError(f"{where}: hidden_act {act!r} is not known: one of {', '.join(GELUS)} is")
    return GELUS[act]


def same_gelu(ours: str, kept: Mapping[str, Any]) -> str:
    """Their name of an activation: as the imported file had it, where it still is that."""
    act = kept.get("hidden_act")
    if isinstance(act, str) and GELUS.get(act) == ours:
        return act
    return {"gelu_tanh": "gelu_pytorch_tanh"}.get(ours, ours)


def require(theirs: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    """UserError, naming the entry, where one that is there has another value."""
    for name, value in wanted.items():
        if name in theirs and theirs[name] is not None and theirs[name] != value:
            raise UserError(
                f"{where}: {name} is {theirs[name]!r}, and only models with {value!r} can be imported"
            )


def require_ours(config: Any, wanted: Mapping[str, Any], called: str, kind: str, where: str) -> None:
    """UserError where a model of ours has another value than every model of that kind."""
    for name, value in wanted.items():
        if (found := getattr(config, name)) != value:
            raise UserError(
                f"{where}: {called}.{name} is {found!r}, and {kind} has {value!r}: only such models can be "
                "exported for it"
            )


def written(config: Any) -> dict[str, Any]:
    """What `tower` reads, and the epsilon."""
    sizes = {name: getattr(config, ours) for name, ours in OURS.items()}
    return {**sizes, "intermediate_size": config.hidden, "layer_norm_eps": config.epsilon}
