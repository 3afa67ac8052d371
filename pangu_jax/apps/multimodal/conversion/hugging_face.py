"""config.json and preprocessor_config.json of a model of two towers: read, and written back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pangu_jax.apps.multimodal.conversion.chinese_clip import CHINESE_CLIP
from pangu_jax.apps.multimodal.conversion.kind import ModelKind, TowerKind, Towers
from pangu_jax.apps.multimodal.conversion.siglip import SIGLIP
from pangu_jax.errors import UserError
from pangu_jax.runs.exchange import json_entries, parts
from pangu_jax.runs.exchange.json_entries import entries
from pangu_jax.runs.exchange.parts import ForeignTensor
from pangu_jax.runs.exchange.tensors import Tensors
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from pangu_jax.workloads.vision.model.plain import PlainConfig

KINDS = {kind.model_type: kind for kind in (CHINESE_CLIP, SIGLIP)}
CONVERT = (
    'python -c \'from transformers import AutoModel as M; M.from_pretrained("{0}")'
    '.save_pretrained("{0}-safe")\''
)
# Their names of GELUs, by ours.
GELUS: dict[str, str] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
}
THEIRS = {"gelu_tanh": "gelu_pytorch_tanh"}  # where no imported file says it otherwise
HIDDEN = "intermediate_size", 3072


class ImportableTowers(NamedTuple):
    """A model that was found fit to be imported; no tensor has been read.

    Attributes:
      kind: what it is.
      towers: its shape.
      table: its tensors.
      tensors: where they are.
      kept: what an export needs to give back what was there, for the manifest.
      notes: what a person should know, a line each.
    """

    kind: ModelKind
    towers: Towers
    table: tuple[ForeignTensor, ...]
    tensors: Tensors
    kept: dict[str, Any]
    notes: tuple[str, ...]


def examine(folder: Path) -> ImportableTowers:
    """What a folder holds.

    Args:
      folder: with config.json and the tensors.
    Raises:
      UserError: it cannot be imported.
    """
    where, theirs = str(folder / "config.json"), entries(folder / "config.json")
    found_type = theirs.get("model_type")
    kind = KINDS.get(found_type) if isinstance(found_type, str) else None
    if kind is None:
        raise UserError(f"{where}: model_type {found_type!r} cannot be imported: {', '.join(KINDS)} are read")
    mean, deviation, notes = json_entries.pixels(folder, kind.pixels)
    try:
        towers = towers_of(kind, theirs, where, mean, deviation)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    tensors = Tensors(folder, CONVERT, unread=_counted)
    if max(towers.image.layers, towers.text.layers) > len(tensors.shapes):
        layers = f"{towers.image.layers} and {towers.text.layers} layers"
        raise UserError(f"{where}: {layers}, and the files hold {len(tensors.shapes)} tensors")
    table = kind.table(towers)
    parts.require_same(tensors, table, f"a {kind.name} of its sizes")
    return ImportableTowers(kind, towers, table, tensors, {"config": theirs}, notes)


def _counted(name: str) -> bool:
    """Version 4 stored 0, 1, 2, ... as a tensor."""
    return name.endswith(".position_ids")


def towers_of(kind: ModelKind, theirs: Mapping[str, Any], where: str, mean: Any, deviation: Any) -> Towers:
    """The shape that a config.json says.

    Args:
      kind: which class.
      theirs: the entries.
      where: the file, for messages.
      mean: of pixels.
      deviation: of pixels.
    Raises:
      UserError, ValueError: an entry is not what it must be, or sizes do not fit each other.
    """
    of_image, of_text = _part(theirs, kind.image, where), _part(theirs, kind.text, where)
    act, text = _activation(of_image, kind.image, where), _tower(of_text, kind.text, where)
    text["activation"] = _activation(of_text, kind.text, where)
    if all(kind.projected):
        width = json_entries.size(theirs, "projection_dim", 512, where)
    else:
        if of_text.get("projection_size") is None:  # so is the class's default written
            of_text = {**of_text, "projection_size": text["d_model"]}
        width = text["projection"] = json_entries.size(of_text, "projection_size", 0, where)
    gelu = {"tanh": act == "gelu_tanh", "quick": act == "quick_gelu"}
    pixels = {"mean": mean, "deviation": deviation}
    image: dict[str, Any] = {**_tower(of_image, kind.image, where), **gelu, **pixels}
    return Towers(PlainConfig(**image), TextTransformerConfig(**text), width)


def _part(theirs: Mapping[str, Any], tower: TowerKind, where: str) -> dict[str, Any]:
    """A tower's entries, changed by what some old files have beside them, as transformers does it."""
    found: dict[str, Any] = {}
    for key in (f"{tower.name}_config", f"{tower.name}_config_dict"):
        value = theirs.get(key)
        if not isinstance(value, dict | None):
            raise UserError(f"{where}: {key} is no object; copy the file again")
        found |= value or {}
    for name, value in tower.fixed.items():
        if found.get(name) not in (None, value):
            raise UserError(
                f"{where}: {name} is {found[name]!r}, and only models with {value!r} can be imported"
            )
    return found


def _tower(theirs: Mapping[str, Any], tower: TowerKind, where: str) -> dict[str, Any]:
    """Arguments of our shape, all but the activation."""
    found: dict[str, Any] = {
        ours: json_entries.size(theirs, name, default, where) for name, (ours, default) in tower.sizes.items()
    }
    ratio = json_entries.size(theirs, *HIDDEN, where) / found["d_model"]
    epsilon = json_entries.epsilon(theirs, "layer_norm_eps", tower.epsilon, where)
    return {**found, **tower.has, "ratio": ratio, "epsilon": epsilon}


def _activation(theirs: Mapping[str, Any], tower: TowerKind, where: str) -> str:
    act = theirs.get("hidden_act")
    if act is None:
        return tower.activation
    if not isinstance(act, str) or act not in GELUS:
        raise UserError(f"{where}: hidden_act {act!r} is not known: one of {', '.join(GELUS)} is")
    return GELUS[act]


def require_theirs(kind: ModelKind, towers: Towers, where: str) -> None:
    """UserError where transformers' class has no way to say what a model of ours is."""
    named = (("VisionTransformer", towers.image, kind.image), ("TextTransformer", towers.text, kind.text))
    for called, config, tower in named:
        for name, value in tower.has.items():
            if (found := getattr(config, name)) != value:
                raise UserError(
                    f"{where}: {called}.{name} is {found!r}, and {kind.name} has {value!r}: only such models "
                    "can be exported for it"
                )
        for name, _ in tower.sizes.values():
            if not getattr(config, name):
                raise UserError(f"{where}: {called}.{name} is 0, and {kind.name} has some: set it to 2")


def to_theirs(kind: ModelKind, towers: Towers, kept: Mapping[str, Any], where: str) -> dict[str, Any]:
    """config.json of a model.

    Args:
      kind: which class.
      towers: its shape.
      kept: the config.json it was imported with; empty for none.
      where: the run directory, for messages.
    Raises:
      UserError: the class has no way to say this.
    """
    require_theirs(kind, towers, where)
    image = towers.image
    act = "gelu_tanh" if image.tanh else "quick_gelu" if image.quick else "gelu"
    own = {"projection_dim": towers.width} if all(kind.projected) else {}
    of_text = {} if all(kind.projected) else {"projection_size": towers.width}
    return {
        **{name: value for name, value in kept.items() if not name.endswith("_config_dict")},
        "architectures": [kind.name],
        "model_type": kind.model_type,
        "vision_config": _written(kind, kind.image, image, act, kept, where),
        "text_config": _written(kind, kind.text, towers.text, towers.text.activation, kept, where) | of_text,
        **own,
    }


def _written(
    kind: ModelKind, tower: TowerKind, config: Any, act: str, kept: Mapping[str, Any], where: str
) -> dict[str, Any]:
    before = _part(kept, tower, where)
    same = GELUS.get(before.get("hidden_act", "")) == act
    return {
        **before,
        **{name: getattr(config, ours) for name, (ours, _) in tower.sizes.items()},
        HIDDEN[0]: config.hidden,
        "layer_norm_eps": config.epsilon,
        "hidden_act": before["hidden_act"] if same else THEIRS.get(act, act),
        "model_type": f"{kind.model_type}_{tower.name}_model",
    }


def preprocessor(kind: ModelKind, config: PlainConfig) -> dict[str, Any]:
    """preprocessor_config.json of a model."""
    each = lambda values: list(values if len(values) == config.channels else values * config.channels)  # noqa: E731
    sides = {"height": config.size, "width": config.size}
    return {
        "image_processor_type": kind.name.replace("Model", "ImageProcessor"),
        "processor_class": kind.name.replace("Model", "Processor"),
        "do_center_crop": False,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": each(config.mean),
        "image_std": each(config.deviation),
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": sides,
    }
