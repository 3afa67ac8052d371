"""Weights of other libraries: each number goes where it is used, and mfai's network gives what ours does."""

import dataclasses
import json
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import _mfai_peer
from pangu_jax.apps.science.conversion import mfai, released
from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.runs.exchange import parts
from pangu_jax.workloads.science.model import earth_bias
from pangu_jax.workloads.science.model.earth import EarthConfig
from tests.workloads.science import small_fields

SMALL = dataclasses.replace(
    small_fields.EARTH,
    depths=(2, 6, 6, 2),
    longitude=16,
    latitude=13,
    patch=(2, 4, 2),
    **released.AS_RELEASED,
)


class Held:
    """Tensors in memory, as `pangu_jax.runs.exchange.tensors.Tensors`."""

    def __init__(self, state):
        self.state, self.dtypes = state, dict.fromkeys(state, "F32")

    @contextmanager
    def reading(self):
        yield lambda name: self.state[name]


def shapes_of(config):
    return {
        path: leaf.shape
        for path, leaf in parts.by_path(jax.eval_shape(config.init, jax.random.key(0))).items()
    }


def test_the_released_names_and_shapes_are_those_of_the_published_model():
    found = {each.name: each.shape for each in released.table(EarthConfig(**released.AS_RELEASED))}
    assert len(found) == 4 * 2 + 3 + 4 + 16 * 13
    assert found["b1.a1.weight"] == (192, 192, 1) and found["b1.a2.weight"] == (192, 112, 1)
    assert found["b1.a142.bias"] == (160,) and found["b1.a143.weight"] == (64, 384, 1)
    assert found["onnx::Add_8950"] == (1, 124, 6, 144, 144) and found["onnx::Add_9783"] == (
        1,
        64,
        12,
        144,
        144,
    )
    assert found["onnx::MatMul_9908"] == (768, 192) and found["b1.a141.fc2.bias"] == (192,)
    numbers = sum(int(np.prod(shape)) for name, shape in found.items() if "Add" in name)
    assert numbers == pytest.approx(252.8e6, rel=1e-3)  # of 1.107 GB that a file has


def test_released_weights_become_ours():
    rng = np.random.default_rng(0)
    ours = {path: rng.normal(size=shape).astype(np.float32) for path, shape in shapes_of(SMALL).items()}
    state = {
        each.name: np.asarray(_spread(ours, each))[None]
        if "Add" in each.name
        else parts.written(each, ours.__getitem__)
        for each in released.table(SMALL)
    }
    found = parts.read(Held(state), released.table(SMALL), shapes_of(SMALL))
    assert found.keys() == ours.keys()
    for path, array in ours.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
    # Written out, not by the table: values of a patch by channel, level, latitude, longitude.
    (z, h, w), channels, fine = SMALL.patch, SMALL.inputs[0], SMALL.dims[0]
    theirs = state["b1.a1.weight"].reshape(fine, channels, z, h, w)
    assert theirs[3, 2, 1, 2, 1] == ours["embedding/upper"][((1 * h + 2) * w + 1) * channels + 2, 3]
    released.require_spread(state["onnx::Add_8950"], SMALL.window, "a bias")
    with pytest.raises(UserError, match="same distance differ"):
        released.require_spread(rng.normal(size=state["onnx::Add_8950"].shape), SMALL.window, "a bias")


def _spread(ours, each):
    path, block = each.parts[0].path, each.parts[0].ours[0]
    return earth_bias.spread(jnp.asarray(ours[path][block]), SMALL.window).swapaxes(-1, -2)


def test_statistics_are_turned_to_the_order_of_the_input():
    stored = np.arange(6.0).reshape(3, 1, 1, 2)  # 50, 500, 1000 hPa
    assert released.statistics(stored).tolist() == [[4, 5], [2, 3], [0, 1]]


def test_other_depths_are_refused():
    with pytest.raises(UserError, match=r"released weights have \(2, 6, 6, 2\)"):
        released.table(small_fields.EARTH)


@pytest.mark.prove
@pytest.mark.parametrize(("latitude", "longitude", "area"), [(12, 32, False), (13, 33, True)])
def test_mfai_gives_the_same(latitude, longitude, area):
    torch = pytest.importorskip("torch")
    try:
        peer = _mfai_peer.loaded()
    except ImportError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    window, patch, levels = (2, 4, 8), (2, 2, 2), 7
    settings = peer.PanguWeatherSettings(
        plevel_patch_size=patch, token_size=16, layer_depth=(2, 2), num_heads=(2, 4), surface_variables=2,
        plevel_variables=3, plevels=levels, static_length=1, window_size=window, lam=area,
    )  # fmt: skip
    net = peer.PanguWeather(1, 1, (latitude, longitude), settings).eval()
    for parameter in net.parameters():
        parameter.data = torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.1)
    config = EarthConfig(
        levels=levels, latitude=latitude, longitude=longitude, upper=3, surface=2, constants=1, patch=patch,
        window=window, dims=(16, 32), heads=(2, 4), depths=(2, 2, 2, 2), periodic=not area, **mfai.AS_MFAI,
    )  # fmt: skip
    index = net.state_dict()["layer3.blocks.1.attention.position_index"]
    np.testing.assert_array_equal(mfai.position_index(window), index)
    said = json.loads(json.dumps(mfai.settings(config, "run")))
    assert peer.PanguWeatherSettings.from_dict(said) == settings
    table = mfai.table(config)
    state = {name: x.numpy() for name, x in net.state_dict().items() if mfai.UNREAD not in name}
    assert {each.name: each.shape for each in table} == {name: x.shape for name, x in state.items()}
    params = parts.nested(parts.read(Held(state), table, shapes_of(config)))
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    upper, surface = draw(2, 3, levels, latitude, longitude), draw(2, 2, latitude, longitude)
    constants = draw(1, 1, latitude, longitude)
    factors = draw(*upper.shape), draw(*surface.shape)
    theirs = net(*map(torch.from_numpy, (upper, surface)), torch.from_numpy(constants).expand(2, -1, -1, -1))
    sum((out * torch.from_numpy(by)).sum() for out, by in zip(theirs, factors, strict=True)).backward()

    def ours(params):
        last = [jnp.moveaxis(jnp.asarray(part), 1, -1) for part in (upper, surface, constants)]
        made = config.forward(OneDevice(), "none", jnp.float32)(params, *last[:2], last[2][0])
        made = [jnp.moveaxis(out, -1, 1) for out in made]
        return sum(jnp.sum(out * by) for out, by in zip(made, factors, strict=True)), made

    (_, made), gradient = jax.jit(jax.value_and_grad(ours, has_aux=True))(params)
    for got, want in zip(made, theirs, strict=True):
        assert np.abs(got - want.detach().numpy()).max() < 1e-5 * want.abs().max().item()
    by_path, wanted = parts.by_path(gradient), {name: p.grad.numpy() for name, p in net.named_parameters()}
    for each in table:
        got = parts.written(each, lambda path: np.asarray(by_path[path]))
        assert np.abs(got - wanted[each.name]).max() < 1e-5 * np.abs(wanted[each.name]).max(), each.name
