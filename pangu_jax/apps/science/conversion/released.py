"""The released Pangu-Weather weights (pangu_weather_24.onnx and the others): their tensors, and ours.

The files cannot be had everywhere, so this is from the names and shapes that a port of them lists (zhaoshan2/
pangu-pytorch, keys_all.csv and models/layers.py), and tested on random weights of these. What differs from
the paper's pseudocode:

- upper air has a sixth channel, the height, which is a constant inside the file;
- weights of linear layers are [in, out], and biases of windows are spread to all pairs of tokens;
- patches are convolutions of one place: values of a patch by channel, level, latitude, longitude, and the
  output has a bias for each of them;
- means and deviations beside the files run from 50 to 1000 hPa, the input from 1000 to 50;
- what a side lacks is added behind the last level and in the south.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.fields.statistics import Statistics
from pangu_jax.apps.science.conversion import source
from pangu_jax.apps.science.conversion.onnx_file import OnnxFile
from pangu_jax.apps.science.conversion.source import AskedFields, ImportableForecast
from pangu_jax.errors import UserError
from pangu_jax.runs.exchange.parts import ALL, ForeignTensor, Index, TensorPart
from pangu_jax.workloads.science.data import NoFields
from pangu_jax.workloads.science.model import earth_bias
from pangu_jax.workloads.science.model.earth import EarthConfig

# Of `EarthConfig`, besides its defaults.
AS_RELEASED = {"height_channel": True, "patch_bias": True}
# Of each layer's blocks: the number of the first product, and of the first module.
BLOCKS = (
    ((8946, 12), (9053, 20)),
    ((9072, 30), (9179, 38), (9192, 46), (9299, 54), (9312, 62), (9419, 70)),
    ((9432, 78), (9539, 86), (9552, 94), (9659, 102), (9672, 110), (9779, 118)),
    ((9794, 129), (9901, 137)),
)
UPPER, SURFACE = ("z", "q", "t", "u", "v"), ("msl", "u10", "v10", "t2m")
CONSTANTS = ("lsm", "slt", "z_surface")
WINDOW = (2, 6, 12)
LEVELS = (1000, 925, 850, 700, 600, 500, 400, 300, 250, 200, 150, 100, 50)  # hPa
HEIGHT, MASKS = "Constant_17_output_0", "constantMaks3.npy"  # as the port has them beside the weights
DOWN, UP, MIX = (f"onnx::MatMul_{number}" for number in (9066, 9787, 9788))


def table(config: EarthConfig) -> tuple[ForeignTensor, ...]:
    """All tensors of a file, but its constants.

    Raises:
      UserError: the configuration has other depths.
    """
    if config.depths != tuple(map(len, BLOCKS)):
        raise UserError(f"EarthTransformer.depths = {config.depths}: released weights have (2, 6, 6, 2)")
    blocks = (each for layer in range(4) for each in _layer(config, layer))
    return (*_ends(config), *blocks)


def examine(file: Path, asked: AskedFields) -> ImportableForecast:
    """What a released file holds, of any grid and width.

    Args:
      file: pangu_weather_24.onnx or another.
      asked: a store with the published variables and levels; of its statistics those beside the weights take
        the place where their folder is given.
    Raises:
      UserError, DataError: it cannot be imported.
    """
    if asked.upper or asked.surface or asked.window:
        raise UserError(
            "--upper, --surface and --window are for --format mfai: the released weights have "
            f"{', '.join(UPPER)} on {len(LEVELS)} levels, {', '.join(SURFACE)}, and windows of {WINDOW}"
        )
    tensors = OnnxFile(file, _check)
    fine, coarse = source.shape(tensors, "b1.a1.bias", 1)[0], source.shape(tensors, DOWN, 2)[1]
    heads = tuple(source.shape(tensors, f"onnx::Add_{BLOCKS[n][0][0] + 4}", 5)[2] for n in (0, 1))
    hidden = source.shape(tensors, f"onnx::MatMul_{BLOCKS[0][0][0] + 6}", 2)[1]
    data, chosen = source.opened(asked, upper=UPPER, surface=SURFACE, levels=LEVELS)
    config = source.config_of(
        file, data, window=WINDOW, dims=(fine, coarse), heads=heads, ratio=hidden / fine, **AS_RELEASED
    )
    rows = table(config)
    left_out = tensors.keep({each.name for each in rows})
    kept, notes = _fields(source.kept_of(data), asked, tensors.constants(HEIGHT))
    notes += (f"left out, constants of the graph: {left_out}",) if left_out else ()
    return ImportableForecast("Pangu-Weather as released", config, rows, tensors, kept, chosen, {}, notes)


def _check(name: str, tensor: np.ndarray) -> None:
    if tensor.ndim == 5:
        require_spread(tensor, WINDOW, name)


def _fields(
    data: NoFields, asked: AskedFields, heights: list[np.ndarray]
) -> tuple[NoFields, tuple[str, ...]]:
    """The store's fields with what is beside the weights, and what there is to say of them."""
    levels, latitudes, longitudes = data.grid.shape
    folder, notes = asked.statistics, []
    height_L = next((found for one in heights if (found := _by_level(one, levels)) is not None), None)
    changes: dict[str, Any] = {}
    if folder is None:
        notes.append(
            "states are measured in the store's means and deviations, which are not those that the weights "
            "were trained with: give these by --statistics where you have them"
        )
    else:
        upper = (levels, 1, 1, len(UPPER))
        changes["statistics"] = Statistics(
            *(statistics(source.numbers(folder, f"upper_{kind}.npy", upper)) for kind in ("mean", "std")),
            *(source.numbers(folder, f"surface_{kind}.npy", (len(SURFACE),)) for kind in ("mean", "std")),
        )
        if height_L is None and (folder / f"{HEIGHT}.npy").exists():
            try:
                height_L = _by_level(np.load(folder / f"{HEIGHT}.npy", allow_pickle=False), levels)
            except (OSError, ValueError, EOFError) as error:
                raise UserError(f"--statistics {folder}: {HEIGHT}.npy is damaged ({error})") from None
    names = dataclasses.replace(data.names, constants=CONSTANTS)
    if folder is not None and (folder / MASKS).exists():
        south = -(-latitudes // 4) * 4  # rows, with those that are added
        masks_KxHxW = source.numbers(folder, MASKS, (len(CONSTANTS), south, longitudes))
        if masks_KxHxW[:, latitudes:].any():
            notes.append(f"the rows of {MASKS} beyond the south pole are not 0; zeros are taken")
        constants = masks_KxHxW[:, :latitudes].transpose(1, 2, 0).astype(np.float32)
        changes |= {"constants_HxWxK": constants, "constants_as_read": True}
    else:
        lacking = [name for name in CONSTANTS if name not in data.names.constants]
        if lacking:
            raise UserError(
                f"{asked.store} has no {', '.join(lacking)}: the released weights read the constants "
                f"{', '.join(CONSTANTS)}; build the store with them, or give {MASKS} in the folder of "
                "--statistics"
            )
        order = [data.names.constants.index(name) for name in CONSTANTS]
        changes["constants_HxWxK"] = data.constants_HxWxK[..., order]
        notes.append(f"constants are the store's, each in units of its own deviation: no {MASKS} was given")
    if height_L is None:
        notes.append("the sixth channel is the standard atmosphere's height: the files have no such constant")
    return dataclasses.replace(data, names=names, height_L=height_L, **changes), tuple(notes)


def _by_level(height: np.ndarray, levels: int) -> np.ndarray | None:
    """A number for each level, from 1000 hPa on as the input, where a constant is that; None otherwise."""
    found = height.reshape(levels, -1) if height.size % levels == 0 and height.size else None
    if found is None or not np.isfinite(found).all() or not (found == found[:, :1]).all():
        return None
    return found[:, 0].astype(np.float32)


def statistics(upper_Lx1x1xU: np.ndarray) -> np.ndarray:
    """Means or deviations as upper_mean.npy has them, from 50 hPa on: [L, U] from 1000 on."""
    return np.ascontiguousarray(upper_Lx1x1xU[::-1, 0, 0])


def require_spread(bias_1xGxHxNxN: np.ndarray, window: tuple[int, int, int], name: str) -> None:
    """UserError unless pairs of tokens at the same levels, latitudes and difference of longitude share a
    bias; else the file is none of these, or its windows are turned."""
    by_key_GxHxMxN = bias_1xGxHxNxN[0].swapaxes(-1, -2)
    again = earth_bias.spread(earth_bias.gathered(by_key_GxHxMxN, window), window)
    if not np.array_equal(np.asarray(again), by_key_GxHxMxN):
        raise UserError(
            f"{name} is no bias of windows of {window} levels, latitudes and longitudes: pairs of tokens "
            "at the same distance differ"
        )


def _one(name: str, axes: tuple[int, ...], path: str, order: str = "", shape: tuple[int, ...] = (), at=ALL):
    digits = tuple(map(int, order)) or tuple(range(len(axes)))
    return ForeignTensor(name, shape or axes, (TensorPart(path, at, axes, digits),))


def _ends(config: EarthConfig) -> Iterator[ForeignTensor]:
    fine, coarse = config.dims
    above, below = config.patch, config.patch[1:]
    for name, ours, channels, made, patch in (
        ("b1.a1", "upper", config.inputs[0], config.upper, above),
        ("b1.a2", "surface", config.inputs[1], config.surface, below),
    ):
        size, last = int(np.prod(patch)), "b1.a142" if ours == "upper" else "b1.a143"
        inside = "".join(str(n + 2) for n in range(len(patch)))  # places of a patch, of [width, channel, ...]
        yield _one(
            f"{name}.weight", (fine, channels, *patch), f"embedding/{ours}", f"{inside}10",
            (fine, channels * size, 1),
        )  # fmt: skip
        yield _one(f"{name}.bias", (fine,), f"embedding/{ours}_bias")
        inside = "".join(str(n + 1) for n in range(len(patch)))  # of [channel, ..., width]
        width = len(patch) + 1
        yield _one(
            f"{last}.weight", (made, *patch, 2 * fine), f"recovery/{ours}", f"{width}{inside}0",
            (made * size, 2 * fine, 1),
        )  # fmt: skip
        yield _one(f"{last}.bias", (made, *patch), f"recovery/{ours}_bias", f"{inside}0", (made * size,))
    yield _one(DOWN, (4 * fine, coarse), "down/kernel")
    yield from _norm("b1.a26", 4 * fine, "down/norm")
    yield _one(UP, (coarse, 4 * fine), "up/spread")
    yield _one(MIX, (fine, fine), "up/mix")
    yield from _norm("b1.a125", fine, "up/norm")


def _norm(name: str, width: int, path: str, at: Index = ALL) -> Iterator[ForeignTensor]:
    yield _one(f"{name}.weight", (width,), f"{path}/scale", at=at)
    yield _one(f"{name}.bias", (width,), f"{path}/bias", at=at)


def _layer(config: EarthConfig, layer: int) -> Iterator[ForeignTensor]:
    coarse, path = layer in (1, 2), f"layer{layer + 1}"
    width, heads, hidden = config.dims[coarse], config.heads[coarse], config.hidden[coarse]
    kv = width // heads
    for block, (product, module) in enumerate(BLOCKS[layer]):
        at: Index = (block,)
        qkv, wide = (width, 3, heads, kv), (3 * width,)
        matmul = [f"onnx::MatMul_{product + more}" for more in (0, 5, 6, 7)]
        yield _one(matmul[0], qkv, f"{path}/qkv", "0213", (width, *wide), at)
        yield _one(f"b1.a{module}.bias", qkv[1:], f"{path}/qkv_bias", "102", wide, at)
        yield _bias(
            config, f"onnx::Add_{product + 4}", config.grids[layer].kinds, heads, f"{path}/earth_bias", block
        )
        yield _one(matmul[1], (heads, kv, width), f"{path}/out", "201", (width, width), at)
        yield _one(f"b1.a{module + 1}.bias", (width,), f"{path}/out_bias", at=at)
        yield from _norm(f"b1.a{module + 2}", width, f"{path}/norm", at)
        yield from _norm(f"b1.a{module + 3}", width, f"{path}/second_norm", at)
        yield _one(matmul[2], (width, hidden), f"{path}/up", at=at)
        yield _one(f"b1.a{module + 4}.fc1.bias", (hidden,), f"{path}/up_bias", at=at)
        yield _one(matmul[3], (hidden, width), f"{path}/down", "10", at=at)
        yield _one(f"b1.a{module + 4}.fc2.bias", (width,), f"{path}/down_bias", at=at)


def _bias(config: EarthConfig, name: str, kinds: int, heads: int, path: str, block: int) -> ForeignTensor:
    """Of all pairs, query by key, those of the first longitude of each: the others repeat them."""
    z, h, w = config.window
    tokens, every = z * h * w, slice(None)
    # Axes of theirs: kinds, heads, query's level and latitude, key's, with a longitude after one of them.
    # Ours: heads, kinds, key's level, query's, key's latitude, query's, longitude.
    first_query = TensorPart(
        path, (block, every, every, every, slice(w - 1, None, -1)), (kinds, heads, z, h, z, h, w),
        (1, 0, 4, 2, 5, 3, 6), (0, every, every, slice(0, None, w), every),
    )  # fmt: skip
    first_key = TensorPart(
        path, (block, every, every, every, slice(w - 1, None)), (kinds, heads, z, h, w, z, h),
        (1, 0, 5, 2, 6, 3, 4), (0, every, every, every, slice(0, None, w)),
    )  # fmt: skip
    return ForeignTensor(name, (1, kinds, heads, tokens, tokens), (first_query, first_key))
