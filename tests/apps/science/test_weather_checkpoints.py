"""States of mfai's PanguWeather and released ONNX files become runs, and what cannot be is one line."""

import dataclasses

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from data_pipelines.fields.field_set import fields
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.store import FieldStore
from data_pipelines.fields.variables import FieldNames
from data_pipelines.fields.writing import write_store
from pangu_jax.apps.science.conversion import mfai, released
from pangu_jax.cli import main
from pangu_jax.errors import UserError
from pangu_jax.runs import opening
from pangu_jax.runs.exchange import parts
from pangu_jax.workloads.science import stored_fields
from pangu_jax.workloads.science.model import earth_bias
from pangu_jax.workloads.science.model.earth import EarthConfig
from tests.workloads.science import small_fields

pytest.importorskip("zarr")

MFAI = dataclasses.replace(small_fields.EARTH, dims=(8, 16), ratio=4.0, drop_path=0.2, **mfai.AS_MFAI)
RELEASED = EarthConfig(
    latitude=9, longitude=96, dims=(6, 8), heads=(1, 2), ratio=2.0, **released.AS_RELEASED
)  # of the published levels, variables, patches and windows


def parameters(config):
    rng = np.random.default_rng(0)
    shapes = parts.by_path(jax.eval_shape(config.init, jax.random.key(0)))
    return {path: rng.normal(size=leaf.shape).astype(np.float32) for path, leaf in shapes.items()}


def stored(path, config, names, levels, count):
    rng = np.random.default_rng(1)
    sides = (config.latitude, config.longitude)
    grid = Grid(
        np.linspace(90, -90, sides[0]), np.arange(sides[1]) * 360 / sides[1], np.asarray(levels, float)
    )
    states = [
        [10 + rng.normal(size=(*at, count)).astype("f") for at, count in
         (((len(levels), *sides), len(names.upper)), (sides, len(names.surface)))]
        for _ in range(count)
    ]  # fmt: skip
    constants = rng.normal(size=(*sides, len(names.constants))).astype("f")
    hours = np.datetime64("2020-01-01T00", "h") + 24 * np.arange(count)
    return write_store(path, grid, names, hours, states.__getitem__, constants)


def params_of(run_dir):
    run = opening.open_run(run_dir, family="science")
    return run, parts.by_path(jax.device_get(run.variables.params))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store, a state of mfai's network within a larger module, and the parameters that it is of."""
    place, ours = tmp_path_factory.mktemp("mfai"), parameters(MFAI)
    names = FieldNames(small_fields.UPPER, small_fields.SURFACE, small_fields.CONSTANTS)
    stored(place / "store", MFAI, names, (850, 500, 200), 16)
    state = {f"model.{each.name}": parts.written(each, ours.__getitem__) for each in mfai.table(MFAI)}
    for layer, depth in enumerate(MFAI.depths, 1):
        for block in range(depth):
            index = mfai.position_index(MFAI.window)
            state[f"model.layer{layer}.blocks.{block}.attention.position_index"] = index
    name = "model.layer2.blocks.1.mlp.linear1.weight"
    state[name] = state[name].astype(np.float16)
    save_file(state, place / "state.safetensors")
    return place, ours, state


def verb(*arguments):
    return main(["checkpoint", *map(str, arguments)])


def import_mfai(place, run_dir, *more, source=None):
    return verb(
        "import", "--format", "mfai", source or place / "state.safetensors", "--run_dir", run_dir,
        "--fields", place / "store", "--lead_hours", 24, *more,
    )  # fmt: skip


def test_a_state_of_mfai_comes_back_to_the_bit(place, capsys):
    folder, ours, state = place
    assert import_mfai(folder, folder / "run") == 0
    said = capsys.readouterr().out
    assert "3 levels, 9 latitudes, 32 longitudes, 24 h a step" in said and "(2, 2, 4)" in said
    run, found = params_of(folder / "run")
    assert run.workload.model == MFAI
    for path, array in ours.items():
        close = 1e-2 if path == "layer2/up" else 0
        np.testing.assert_allclose(found[path], array, rtol=close, atol=close, err_msg=path)
    assert verb("export", "--format", "mfai", "--run_dir", folder / "run", "--out", folder / "out") == 0
    back = load_file(folder / "out" / "model.safetensors")
    assert back.keys() == state.keys()
    for name, array in state.items():
        assert back[name].dtype == array.dtype and back[name].tobytes() == array.tobytes(), name


def test_an_imported_run_is_measured_in_what_its_store_says(place):
    folder, _, _ = place
    if not (folder / "run").exists():
        import_mfai(folder, folder / "run")
    run, _ = params_of(folder / "run")
    store = FieldStore.open(folder / "store")
    surface = np.stack([store.read(n)[1] for n in range(len(store))])
    kept = run.workload.data
    np.testing.assert_allclose(kept.statistics.surface_std_S[0], surface.std(), rtol=1e-5)
    np.testing.assert_allclose(kept.increments.surface_std_S[0], np.diff(surface, axis=0).std(), rtol=1e-5)
    assert (kept.lead_hours, run.workload.targets, kept.height_L) == (24, "state", None)
    # With its data it has the windows of the store, and goes on measuring in what it was trained with.
    other = stored_fields.with_windows(
        dataclasses.replace(kept, statistics=kept.increments), fields_of(store)
    )
    assert other.statistics is kept.increments
    made = opening.with_data(run)
    (batches,) = made.data.validation_sources(2).values()
    batch = batches.batch(0)
    np.testing.assert_array_equal(batch["surface"][0, 0], surface[batch["place"][0]])
    np.testing.assert_array_equal(made.scales.surface_std_S, run.workload.scales.surface_std_S)
    half = dataclasses.replace(kept.grid, level_L=kept.grid.level_L[:2])
    with pytest.raises(UserError, match="the store has 3 levels where 2 are needed"):
        stored_fields.with_windows(dataclasses.replace(kept, grid=half), fields_of(store))


def fields_of(store):
    return fields(path=str(store.path))


def index_of_pytorch(window):
    """As mfai makes it, place by place."""
    z, h, w = window
    places = [(a, b, c) for a in range(z) for b in range(h) for c in range(w)]
    return [
        ((a + z * d) * h * h + b + h * e) * (2 * w - 1) + c - f + w - 1
        for a, b, c in places
        for d, e, f in places
    ]


def test_position_index_is_that_of_mfai():
    assert mfai.position_index((2, 4, 6)).tolist() == index_of_pytorch((2, 4, 6))


def without(name):
    return lambda state: state.pop(f"model.{name}")


def narrow(state):
    state["model.downsample.norm.weight"] = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (without("upsample.norm.bias"), (), "model.upsample.norm.bias is missing"),
        (narrow, (), "model.downsample.norm.weight is 3 instead of 32"),
        (lambda state: state.update({"loss.scale": np.ones(2, np.float32)}), (), "loss.scale has no place"),
        (without("embedding_layer.conv_plevel.weight"), (), "conv_plevel.weight is missing"),
        (None, ("--upper", "t"), "has 2 variables on levels, and"),
        (None, ("--upper", "t,q"), "the store has no q"),
        (None, ("--window", "2,4,4"), "earth_specific_bias is 112x6x2 instead of 448x4x2"),
        (None, ("--window", "2,4"), "give three numbers"),
        (None, ("--window", "2,3,4"), "half of one"),
        (None, ("--statistics", "there"), "is for --format onnx"),
        (None, ("--lead_hours", "30"), "no state has one 30 h later"),
        (None, ("--fields", "nowhere"), "nowhere"),
        (None, ("--heads", "2"), "are for models of vision"),
    ],
)  # fmt: skip
def test_what_is_no_such_state_is_one_line(place, tmp_path, capsys, change, more, message):
    folder, _, state = place
    file = folder / "state.safetensors"
    if change is not None:
        changed, file = dict(state), tmp_path / "state.safetensors"
        change(changed)
        save_file(changed, file)
    assert import_mfai(folder, tmp_path / "run", *more, source=file) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and message in said[0], said
    assert not (tmp_path / "run").exists()


def test_fields_are_asked_for_and_others_have_none(tmp_path, capsys):
    there = [tmp_path, "--run_dir", tmp_path / "run"]
    assert verb("import", "--format", "mfai", *there, "--lead_hours", 24) == 2
    assert "needs --fields STORE and --lead_hours N" in capsys.readouterr().err
    assert verb("import", "--format", "hf", *there, "--fields", "store") == 2
    assert "--fields is for --format mfai and onnx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [({"norm": "pre"}, "norm is 'pre'"), ({"dims": (8, 24)}, "dims is"), ({"centred": False}, "centred is")],
)
def test_a_model_that_mfai_has_no_way_to_say_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        mfai.settings(dataclasses.replace(MFAI, **change), "run")
    assert mfai.settings(MFAI, "run")["layer_depth"] == (2, 2)


class Published:
    """A file with the released names, its store and what is beside it."""

    def __init__(self, folder):
        self.onnx = pytest.importorskip("onnx", reason="reading ONNX needs pangu-jax[export]")
        self.folder, self.ours = folder, parameters(RELEASED)
        names = FieldNames(released.UPPER, released.SURFACE, released.CONSTANTS)
        self.store = stored(folder / "store", RELEASED, names, released.LEVELS, 2)
        self.state = {
            each.name: self._bias(each) if "Add" in each.name else parts.written(each, self.ours.__getitem__)
            for each in released.table(RELEASED)
        }
        self.height_L = np.linspace(-1, 2, len(released.LEVELS)).astype(np.float32)
        rng = np.random.default_rng(2)
        beside = {
            "upper_mean": rng.normal(size=(13, 1, 1, 5)), "upper_std": rng.uniform(1, 2, (13, 1, 1, 5)),
            "surface_mean": rng.normal(size=4), "surface_std": rng.uniform(1, 2, 4),
        }  # fmt: skip
        self.beside = {name: array.astype(np.float32) for name, array in beside.items()}
        (folder / "beside").mkdir()
        for name, array in self.beside.items():
            np.save(folder / "beside" / f"{name}.npy", array)

    def _bias(self, each):
        path, block = each.parts[0].path, each.parts[0].ours[0]
        spread = earth_bias.spread(self.ours[path][block], RELEASED.window).swapaxes(-1, -2)
        return np.asarray(spread)[None]

    def write(self, name, state, height=True):
        helper, numbers = self.onnx.helper, self.onnx.numpy_helper
        made = np.broadcast_to(self.height_L[:, None, None], (1, 1, 1, 13, 9, 96))
        value = numbers.from_array(np.ascontiguousarray(made))
        nodes = (
            [helper.make_node("Constant", [], ["/b1/Constant_17_output_0"], value=value)] if height else []
        )
        stored = [numbers.from_array(np.ascontiguousarray(array), key) for key, array in state.items()]
        graph = helper.make_graph(nodes, "pangu", [], [], stored)
        self.onnx.save(helper.make_model(graph), self.folder / name)
        return self.folder / name

    def taken(self, file, run_dir, *more):
        return verb(
            "import", "--format", "onnx", file, "--run_dir", run_dir, "--fields", self.folder / "store",
            "--lead_hours", 24, *more,
        )  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return Published(tmp_path_factory.mktemp("onnx"))


def test_a_released_file_becomes_a_run(published, tmp_path, capsys):
    state = published.state | {"onnx::Slice_1": np.arange(3)}
    file = published.write("pangu.onnx", state)
    assert published.taken(file, tmp_path / "run", "--statistics", published.folder / "beside") == 0
    assert "left out, constants of the graph: 1" in (said := capsys.readouterr().out), said
    run, found = params_of(tmp_path / "run")
    assert run.workload.model == RELEASED
    for path, array in published.ours.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
    # Statistics are from 50 hPa on in their files, and from 1000 in ours.
    kept = run.workload.data.statistics
    np.testing.assert_array_equal(kept.upper_mean_LxU[0], published.beside["upper_mean"][12, 0, 0])
    np.testing.assert_array_equal(kept.surface_std_S, published.beside["surface_std"])
    np.testing.assert_array_equal(run.workload.height_L, published.height_L)
    assert run.workload.data.names.constants == released.CONSTANTS


def test_masks_beside_the_weights_are_read_as_they_are(published, tmp_path):
    file, beside = published.write("masks.onnx", published.state, height=False), tmp_path / "beside"
    beside.mkdir()
    for name, array in published.beside.items():
        np.save(beside / f"{name}.npy", array)
    masks = np.zeros((1, 3, 12, 96), np.float32)  # three rows of it are south of the pole
    masks[:, :, :9] = np.random.default_rng(3).normal(5, 1, (3, 9, 96))
    np.save(beside / "constantMaks3.npy", masks)
    np.save(beside / "Constant_17_output_0.npy", np.repeat(published.height_L, 4).reshape(1, 1, 1, 13, 2, 2))
    assert published.taken(file, tmp_path / "run", "--statistics", beside) == 0
    workload = params_of(tmp_path / "run")[0].workload
    np.testing.assert_array_equal(workload.constants_HxWxK[..., 1], masks[0, 1, :9])
    np.testing.assert_array_equal(workload.height_L, published.height_L)


def turned(state):
    bias = state["onnx::Add_8950"].reshape(1, -1, 1, 2, 6, 12, 2, 6, 12)
    state["onnx::Add_8950"] = bias.transpose(0, 1, 2, 3, 5, 4, 6, 8, 7).reshape(1, -1, 1, 144, 144)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (turned, "onnx::Add_8950 is no bias of windows of (2, 6, 12)"),
        (lambda state: state.pop("b1.a125.bias"), "b1.a125.bias is missing"),
        (lambda state: state.update({"b1.a1.weight": state["b1.a1.weight"][:, :160]}),
         "b1.a1.weight is 6x160x1 instead of 6x192x1"),  # five channels, as the pseudocode has
        (lambda state: state.update({"b1.a26.bias": state["b1.a26.bias"].astype(np.float64)}), "is DOUBLE"),
    ],
)  # fmt: skip
def test_what_is_no_released_file_is_one_line(published, tmp_path, capsys, change, message):
    state = dict(published.state)
    change(state)
    assert published.taken(published.write("wrong.onnx", state), tmp_path / "run") == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and message in said[0], said


def test_a_file_that_is_damaged_is_one_line(published, tmp_path, capsys):
    whole = published.write("cut.onnx", published.state)
    whole.write_bytes(whole.read_bytes()[:-50])
    assert published.taken(whole, tmp_path / "run") == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "is damaged or no ONNX file" in said[0], said


def test_without_what_is_beside_the_weights_it_is_said(published, tmp_path, capsys):
    assert published.taken(published.write("alone.onnx", published.state, False), tmp_path / "run") == 0
    said = capsys.readouterr().out
    for part in ("store's means and deviations", "constants are the store's", "standard atmosphere's height"):
        assert part in said
