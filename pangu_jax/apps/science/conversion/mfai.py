"""The tensors of mfai's PanguWeather (9.0.1, mfai/pytorch/models/pangu.py), and ours.

Its network differs from the published one in three things, each a setting of `EarthConfig`: the surface is
the last level, what a side lacks is added half and half, and the first layer's result follows the last one's.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pangu_jax.apps.science.conversion import source
from pangu_jax.apps.science.conversion.source import AskedFields, ImportableForecast, Window
from pangu_jax.errors import UserError
from pangu_jax.runs.exchange.parts import ALL, ForeignTensor, TensorPart
from pangu_jax.runs.exchange.tensors import Tensors
from pangu_jax.workloads.science.model import earth_bias
from pangu_jax.workloads.science.model.earth import EarthConfig

# Of `EarthConfig`, as mfai has it.
AS_MFAI = {"surface_last": True, "centred": True, "skip_last": True, "norm": "post", "bias": "earth"}
UNREAD = "position_index"  # a table of indices that follows from the window
INSIDE = "state_dict"  # of a checkpoint, the entry with the tensors
FIRST, BIAS = "embedding_layer.conv_plevel.weight", "attention.earth_specific_bias"
CONVERT = (
    'python -c \'import torch; from safetensors.torch import save_file; save_file(torch.load("{0}", '
    'weights_only=True)["state_dict"], "{0}.safetensors")\''
)


def examine(file: Path, asked: AskedFields) -> ImportableForecast:
    """What a saved state of PanguWeather holds.

    Args:
      file: of safetensors or of torch.save, or a folder with one; tensors by name, or under "state_dict".
      asked: the store whose grid and statistics it was trained with.
    Raises:
      UserError, DataError: it cannot be imported.
    """
    if asked.statistics is not None:
        raise UserError("--statistics is for --format onnx: of mfai's states the store's are taken")
    tensors = Tensors(file, CONVERT, INSIDE, unread=lambda name: name.endswith(UNREAD))
    prefix = next((name.removesuffix(FIRST) for name in tensors.shapes if name.endswith(FIRST)), "")
    fine, upper, *patch = source.shape(tensors, f"{prefix}{FIRST}", 5)
    surface = source.shape(tensors, f"{prefix}_output_layer.conv_surface.weight", 4)[1]
    inputs = source.shape(tensors, f"{prefix}embedding_layer.conv_surface.weight", 4)[1]
    coarse = source.shape(tensors, f"{prefix}downsample.linear.weight", 2)[0]
    biases = [source.shape(tensors, f"{prefix}layer{n}.blocks.0.{BIAS}", 3) for n in (1, 2)]
    hidden = source.shape(tensors, f"{prefix}layer1.blocks.0.mlp.linear1.weight", 2)[0]
    data, chosen = source.opened(asked)
    counts = {"variables on levels": (upper, len(data.names.upper))}
    counts["variables on the surface"] = surface, len(data.names.surface)
    counts["constants"] = inputs - surface, len(data.names.constants)
    source.require_channels(file, counts, asked.store)
    given: dict[str, Any] = {
        "upper": upper, "surface": surface, "constants": inputs - surface, "patch": tuple(patch),
        "dims": (fine, coarse), "heads": (biases[0][2], biases[1][2]), "ratio": hidden / fine,
        "depths": tuple(_depth(tensors.shapes, prefix, layer) for layer in (1, 2, 3, 4)), **AS_MFAI,
    }  # fmt: skip
    window = asked.window or _window(file, biases, data.grid.shape, given["patch"])
    config = source.config_of(file, data, window=window, **given)
    where = "around the globe (lam = False)" if config.periodic else "of a part of the globe (lam = True)"
    notes = (f"windows of {window} levels, latitudes and longitudes, {where}",)
    named = tuple(each._replace(name=prefix + each.name) for each in table(config))
    kept = {"prefix": prefix}
    return ImportableForecast(
        "PanguWeather of mfai", config, named, tensors, source.kept_of(data), chosen, kept, notes
    )


def _depth(names: Any, prefix: str, layer: int) -> int:
    """Blocks of a layer."""
    pattern = re.compile(re.escape(f"{prefix}layer{layer}.blocks.") + r"(\d+)\.")
    found = {int(hit[1]) for name in names if (hit := pattern.match(name))}
    return max(found, default=-1) + 1


def _window(file: Path, biases: list[Any], sides: Window, patch: Window) -> Window:
    """The one window whose tables have the sizes that are there."""
    levels, latitudes, _ = (-(-size // side) for size, side in zip(sides, patch, strict=True))
    rows = (latitudes, -(-latitudes // 2))
    found = []
    for z in range(2, levels + 3, 2):
        for h in range(2, latitudes + 2, 2):
            offsets, left = divmod(biases[0][0], (z * h) ** 2)
            kinds = [-(-(levels + 1) // z) * -(-size // h) for size in rows]
            if not left and offsets % 4 == 3 and kinds == [bias[1] for bias in biases]:
                found.append((z, h, (offsets + 1) // 2))
    if len(found) == 1:
        return found[0]
    said = "windows of " + " or ".join(map(str, found)) if found else "no windows"
    raise UserError(
        f"{file}: biases of {biases[0][0]} x {biases[0][1]} and {biases[1][0]} x {biases[1][1]} fit {said} "
        f"on a grid of {sides} levels, latitudes and longitudes: "
        f"{'give one by --window' if found else 'name the store that it was trained on'}"
    )


def position_index(window: Window) -> np.ndarray:
    """Row of a bias for each pair of tokens, query by key, flat int64, which a state holds as well."""
    places = np.indices(window).reshape(3, -1)
    z, h, w = (places[axis] for axis in range(3))
    levels = z[:, None] + window[0] * z
    latitudes = h[:, None] + window[1] * h
    offsets = w[:, None] - w + window[2] - 1
    index = (levels * window[1] ** 2 + latitudes) * (2 * window[2] - 1) + offsets
    return index.reshape(-1).astype(np.int64)


def settings(config: EarthConfig, where: str) -> dict[str, Any]:
    """`PanguWeatherSettings` of a configuration; UserError where mfai has no way to say it."""
    fine = config.dims[0]
    wanted = {
        **AS_MFAI, "roll": True, "height_channel": False, "patch_bias": False, "ratio": 4.0,
        "dims": (fine, 2 * fine), "depths": (*config.depths[:2], *config.depths[1::-1]),
    }  # fmt: skip
    for name, value in wanted.items():
        if getattr(config, name) != value:
            raise UserError(
                f"{where}: EarthTransformer.{name} is {getattr(config, name)!r}, and mfai's PanguWeather has "
                f"{value!r}: only such models can be exported for it"
            )
    return {
        "plevel_patch_size": config.patch, "token_size": fine, "layer_depth": config.depths[:2],
        "num_heads": config.heads, "surface_variables": config.surface, "plevel_variables": config.upper,
        "plevels": config.levels, "static_length": config.constants, "window_size": config.window,
        "lam": not config.periodic,
    }  # fmt: skip


def table(config: EarthConfig) -> tuple[ForeignTensor, ...]:
    """All tensors of a state."""
    return tuple(_ends(config)) + tuple(each for layer in range(4) for each in _layer(config, layer))


def _one(name: str, axes: tuple[int, ...], path: str, order: str = "", shape: tuple[int, ...] = (), at=ALL):
    """A tensor that is all of an array, or of a block's part of it: split into `axes`, in our order."""
    digits = tuple(map(int, order)) or tuple(range(len(axes)))
    return ForeignTensor(name, shape or axes, (TensorPart(path, at, axes, digits),))


def _ends(config: EarthConfig) -> Iterator[ForeignTensor]:
    (z, h, w), (fine, coarse) = config.patch, config.dims
    upper, surface = config.inputs
    of_upper, of_surface = (z, h, w), (h, w)
    yield _one("embedding_layer.conv_plevel.weight", (fine, upper, *of_upper), "embedding/upper", "23410")
    yield _one("embedding_layer.conv_plevel.bias", (fine,), "embedding/upper_bias")
    yield _one(
        "embedding_layer.conv_surface.weight", (fine, surface, *of_surface), "embedding/surface", "2310"
    )
    yield _one("embedding_layer.conv_surface.bias", (fine,), "embedding/surface_bias")
    yield _one("downsample.linear.weight", (coarse, 4 * fine), "down/kernel", "10")
    yield from _norm("downsample.norm", 4 * fine, "down/norm")
    yield _one("upsample.linear1.weight", (4 * fine, coarse), "up/spread", "10")
    yield _one("upsample.linear2.weight", (fine, fine), "up/mix", "10")
    yield from _norm("upsample.norm", fine, "up/norm")
    out = 2 * fine
    yield _one("_output_layer.conv.weight", (out, config.upper, *of_upper), "recovery/upper", "02341")
    yield _one("_output_layer.conv.bias", (config.upper,), "recovery/upper_bias")
    yield _one(
        "_output_layer.conv_surface.weight", (out, config.surface, *of_surface), "recovery/surface", "0231"
    )
    yield _one("_output_layer.conv_surface.bias", (config.surface,), "recovery/surface_bias")


def _norm(name: str, width: int, path: str, at=ALL) -> Iterator[ForeignTensor]:
    yield _one(f"{name}.weight", (width,), f"{path}/scale", at=at)
    yield _one(f"{name}.bias", (width,), f"{path}/bias", at=at)


def _layer(config: EarthConfig, layer: int) -> Iterator[ForeignTensor]:
    coarse = layer in (1, 2)
    width, heads, hidden = config.dims[coarse], config.heads[coarse], config.hidden[coarse]
    kv, kinds = width // heads, config.grids[layer].kinds
    pairs, offsets = earth_bias.entries(config.window)
    for block in range(config.depths[layer]):
        name, path, at = f"layer{layer + 1}.blocks.{block}", f"layer{layer + 1}", (block,)
        yield from _norm(f"{name}.norm1", width, f"{path}/norm", at)
        yield from _norm(f"{name}.norm2", width, f"{path}/second_norm", at)
        qkv, looks = (3, heads, kv, width), f"{name}.attention"
        yield _one(f"{looks}.linear1.weight", qkv, f"{path}/qkv", "3102", (3 * width, width), at)
        yield _one(f"{looks}.linear1.bias", qkv[:3], f"{path}/qkv_bias", "102", (3 * width,), at)
        yield _one(f"{looks}.linear2.weight", (width, heads, kv), f"{path}/out", "", (width, width), at)
        yield _one(f"{looks}.linear2.bias", (width,), f"{path}/out_bias", at=at)
        entries = (pairs, offsets, kinds, heads)
        stored = (pairs * offsets, kinds, heads)
        yield _one(f"{looks}.earth_specific_bias", entries, f"{path}/earth_bias", "3201", stored, at)
        yield _one(f"{name}.mlp.linear1.weight", (hidden, width), f"{path}/up", "10", at=at)
        yield _one(f"{name}.mlp.linear1.bias", (hidden,), f"{path}/up_bias", at=at)
        yield _one(f"{name}.mlp.linear2.weight", (width, hidden), f"{path}/down", at=at)
        yield _one(f"{name}.mlp.linear2.bias", (width,), f"{path}/down_bias", at=at)
