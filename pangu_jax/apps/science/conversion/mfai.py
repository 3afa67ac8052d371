"""The tensors of mfai's PanguWeather (9.0.1, mfai/pytorch/models/pangu.py), and ours.

Its network differs from the published one in three things, each a setting of `EarthConfig`: the surface is
the last level, what a side lacks is added half and half, and the first layer's result follows the last one's.
"""

from collections.abc import Iterator

from pangu_jax.runs.exchange.parts import ALL, ForeignTensor, TensorPart
from pangu_jax.workloads.science.model import earth_bias
from pangu_jax.workloads.science.model.earth import EarthConfig

# Of `EarthConfig`, as mfai has it.
AS_MFAI = {"surface_last": True, "centred": True, "skip_last": True, "norm": "post", "bias": "earth"}
UNREAD = "position_index"  # a table of indices that follows from the window


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
