"""Checkpoints: any mesh to any mesh, and what happens to damaged, foreign and half-written ones."""

import json
import logging
import os
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from pangu_jax.errors import UserError
from pangu_jax.runs import checkpoint_files
from pangu_jax.runs.checkpoints import Checkpoints

MANIFEST = {"recipe": "# a recipe\ntrain.steps = 3", "fingerprint": {"vocabulary": "a" * 64}}


class State(NamedTuple):
    params: dict
    opt_state: tuple
    step: jax.Array
    rng: jax.Array


def mesh(**axes: int) -> Mesh:
    sizes = list(axes.values())
    return Mesh(np.array(jax.devices()[: np.prod(sizes)]).reshape(sizes), tuple(axes))


def spec(leaf, axes) -> P:
    """Matrices over (fsdp, model) where the mesh has them, vectors over fsdp, scalars replicated."""
    names = [axis if axis in axes else None for axis in ("fsdp", "model")]
    return P(*([None] * (leaf.ndim - 2) + names)[-leaf.ndim :]) if leaf.ndim else P()


def make_state(on: Mesh, width: int = 16, seed: int = 0) -> State:
    random = np.random.default_rng(seed)
    params = {
        "encoder": {"w": random.normal(size=(2, 8, width)).astype("f4"), "scale": np.ones(8, "f4")},
        "head": random.normal(size=(8, 24)).astype("f4"),
    }
    state = State(params, optax.adamw(1e-3).init(params), np.int32(7), jax.random.key(seed))
    return jax.tree.map(lambda x: jax.device_put(x, NamedSharding(on, spec(x, on.axis_names))), state)


def abstract(state: State, on: Mesh, dtype=None) -> State:
    def leaf(x):
        cast = dtype if dtype and jnp.issubdtype(x.dtype, jnp.floating) else x.dtype
        return jax.ShapeDtypeStruct(x.shape, cast, sharding=NamedSharding(on, spec(x, on.axis_names)))

    return jax.tree.map(leaf, state)


def host(tree):
    """As numpy arrays, random keys by their data."""
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda x: np.asarray(jax.random.key_data(x) if is_key(x) else x), tree)


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, host(left), host(right))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory with steps 10, 20, 30, and the state of each; copied by whoever damages it."""
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    states = {step: make_state(mesh(fsdp=4, model=2), seed=step) for step in (10, 20, 30)}
    with Checkpoints(directory) as checkpoints:
        for step, state in states.items():
            checkpoints.save(step, state, MANIFEST)
    return directory, states


@pytest.fixture
def copy(saved, tmp_path):
    directory, states = saved
    shutil.copytree(directory, tmp_path / "checkpoints")
    return tmp_path / "checkpoints", states


@pytest.mark.parametrize(
    "axes", [{"data": 8}, {"fsdp": 8}, {"data": 2, "fsdp": 2, "model": 2}, {"model": 4}, {"fsdp": 1}], ids=str
)
def test_restores_onto_another_mesh(saved, axes):
    directory, states = saved
    target = abstract(states[30], mesh(**axes))
    with Checkpoints(directory, read_only=True) as checkpoints:
        state, manifest = checkpoints.restore(target)
    assert_equal(state, states[30])
    assert jax.tree.map(lambda x: x.sharding, state) == jax.tree.map(lambda x: x.sharding, target)
    assert manifest["recipe"] == MANIFEST["recipe"]
    assert manifest["mesh"] == {"fsdp": 4, "model": 2}


def test_a_single_device_saves_for_many(tmp_path):
    state = make_state(mesh(fsdp=1))
    with Checkpoints(tmp_path, asynchronous=False) as checkpoints:
        checkpoints.save(1, state, MANIFEST)
        restored, _ = checkpoints.restore(abstract(state, mesh(fsdp=2, model=4)))
    assert_equal(restored, state)


def test_floats_are_cast_and_nothing_else(saved):
    directory, states = saved
    with Checkpoints(directory, read_only=True) as checkpoints:
        state, _ = checkpoints.restore(abstract(states[30], mesh(fsdp=2), jnp.bfloat16))
    expected = states[30].params["encoder"]["w"].astype(jnp.bfloat16)
    assert state.params["encoder"]["w"].dtype == jnp.bfloat16
    assert_equal(state.params["encoder"]["w"], expected)
    assert state.step.dtype == jnp.int32


def test_parameters_alone(saved):
    directory, states = saved
    target = abstract(states[20], mesh(model=2)).params
    with Checkpoints(directory, read_only=True) as checkpoints:
        entries, manifest = checkpoints.restore_entries({"params": target}, step=20)
    assert_equal(entries, {"params": states[20].params})
    assert manifest["step"] == 20


def test_an_asynchronous_save_is_of_the_moment_it_was_asked_for(tmp_path):
    """The next step donates its buffers, so the background write must not read them."""
    step = jax.jit(lambda x: x * 0.0, donate_argnums=0)
    x = jax.device_put(np.full((2048, 8192), 3.0, "f4"), jax.devices()[0])
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": x}, {})
        x = step(x)
        x.block_until_ready()
        restored, _ = checkpoints.restore({"x": jax.ShapeDtypeStruct(x.shape, x.dtype)})
    assert float(restored["x"].min()) == 3.0


def test_retention(tmp_path):
    with Checkpoints(tmp_path, keep=2, keep_every=4) as checkpoints:
        assert checkpoints.latest() is None
        for step in range(1, 8):
            checkpoints.save(step, {"x": jnp.float32(step)}, {})
        checkpoints.wait()
        assert checkpoint_files.committed_steps(tmp_path) == [4, 6, 7]
        assert not checkpoints.save(7, {"x": jnp.float32(0)}, {})
        assert checkpoints.save(7, {"x": jnp.float32(8)}, {}, force=True)
        state, _ = checkpoints.restore({"x": jax.ShapeDtypeStruct((), jnp.float32)})
    assert state["x"] == 8


def largest_file(step_directory):
    return max((f for f in step_directory.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)


def truncate(step_directory):
    file = largest_file(step_directory)
    os.truncate(file, file.stat().st_size // 2)
    return f"{file.name} is truncated"


def flip_a_bit(step_directory):
    file = largest_file(step_directory)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return f"{file.name} has changed"


def delete(step_directory):
    file = largest_file(step_directory)
    file.unlink()
    return f"{file.name} is missing"


def garble_the_manifest(step_directory):
    (step_directory / "manifest" / "metadata").write_text("{")
    return "manifest"


def truncate_without_checksums(step_directory):
    (step_directory / "checksums.json").unlink()
    for file in (step_directory / "state").glob("**/d/*"):
        os.truncate(file, file.stat().st_size // 2)
    return "cannot be read"


@pytest.mark.parametrize(
    "damage", [truncate, flip_a_bit, delete, garble_the_manifest, truncate_without_checksums]
)
def test_a_damaged_newest_is_stepped_over(copy, damage, caplog):
    directory, states = copy
    why = damage(directory / "30")
    target = abstract(states[20], mesh(fsdp=2))
    with Checkpoints(directory) as checkpoints, caplog.at_level(logging.WARNING, "pangu_jax"):
        with pytest.raises(UserError, match="no usable checkpoint"):
            checkpoints.restore(target, step=30)
        state, manifest = checkpoints.restore(target)
        [warning] = [record.getMessage() for record in caplog.records if record.name.startswith("pangu_jax")]
        assert why in warning and "30 is damaged" in warning and "\n" not in warning
        assert manifest["step"] == 20
        assert_equal(state, states[20])
        assert checkpoints.save(30, state, MANIFEST)
    assert checkpoint_files.verify(directory)["usable"] == [10, 20, 30]
    assert checkpoint_files.verify(directory)["set_aside"] == ["30.corrupt"]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_damage_restores_a_wrong_state(saved, tmp_path_factory, data):
    """Flip, cut or overwrite anywhere in any file of the newest: either it is harmless or step 20 is used."""
    directory = tmp_path_factory.mktemp("run")
    for step in ("20", "30"):
        shutil.copytree(saved[0] / step, directory / step)
    files = sorted(path for path in (directory / "30").rglob("*") if path.is_file())
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    change = data.draw(st.sampled_from(["flip", "cut", "overwrite"]))
    if change == "flip":
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    elif change == "cut":
        del content[at:]
    else:
        content[at : at + 9] = data.draw(st.binary(min_size=9, max_size=9))
    file.write_bytes(content)
    with Checkpoints(directory) as checkpoints:
        state, manifest = checkpoints.restore(abstract(saved[1][30], mesh(fsdp=1)))
    assert_equal(state, saved[1][manifest["step"]])


def test_every_checkpoint_damaged(copy):
    directory, states = copy
    for step in (10, 20, 30):
        truncate(directory / str(step))
    with Checkpoints(directory) as checkpoints, pytest.raises(UserError, match=r"step 30: .*step 10: "):
        checkpoints.restore(abstract(states[30], mesh(fsdp=1)))
    assert checkpoint_files.committed_steps(directory) == [10, 20, 30]
    with pytest.raises(UserError, match="is usable"):
        checkpoint_files.verify(directory)


def test_another_model_is_refused_by_name(saved):
    directory, states = saved
    on = mesh(fsdp=1)
    wider = abstract(make_state(on, width=32), on)
    extra = abstract(states[30], on)
    extra.params["decoder"] = extra.params.pop("encoder")
    with Checkpoints(directory, read_only=True) as checkpoints:
        with pytest.raises(UserError, match="encoder/w is 2x8x16 in the checkpoint, 2x8x32 in the model"):
            checkpoints.restore(wider)
        with pytest.raises(UserError, match=r"params/decoder/scale is not in the checkpoint.* more; "):
            checkpoints.restore(extra)
        with pytest.raises(UserError, match="params/encoder/w is only in the checkpoint"):
            checkpoints.restore_entries({"params": {"encoder": {"scale": extra.params["decoder"]["scale"]}}})
    assert checkpoint_files.committed_steps(directory) == [10, 20, 30]


WANTED = jax.ShapeDtypeStruct((8, 24), jnp.float32)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        (
            {"params": {"tail": WANTED}},
            "params/tail is not in the checkpoint, params/encoder/scale is only in",
        ),
        ({"weights": {"head": WANTED}}, "weights/head is not in the checkpoint; "),
        ({"step": np.zeros((2,), "i4")}, "step is a scalar in the checkpoint, 2 in the model"),
        ({"step": np.int16(0)}, "step is int32 in the checkpoint, int16 in the model"),
        ({"step": np.float32(0)}, "step is int32 in the checkpoint, float32 in the model"),
        ({"step": np.int32(0), "steps": np.int32(0)}, "steps is not in the checkpoint"),
    ],
)
def test_a_part_that_the_checkpoint_does_not_have_is_refused(saved, entries, why):
    """Orbax would leave in place what the caller came with: fresh weights, or zeros for what overflows."""
    with Checkpoints(saved[0], read_only=True) as checkpoints, pytest.raises(UserError, match=why):
        checkpoints.restore_entries(entries)


def test_some_arrays_are_read_as_they_were_saved_or_refused(saved):
    with Checkpoints(saved[0], read_only=True) as checkpoints:
        params = saved[1][20].params
        scale = jax.ShapeDtypeStruct(params["encoder"]["scale"].shape, params["encoder"]["scale"].dtype)
        found = checkpoints.read_below(20, "params", {"head": WANTED, "encoder": {"scale": scale}})
        assert_equal(found, {"head": params["head"], "encoder": {"scale": params["encoder"]["scale"]}})
        assert_equal(checkpoints.read_below(20, "params/head", WANTED), saved[1][20].params["head"])
        for path, wanted, why in (
            ("params/tail", WANTED, "params/tail is not in the checkpoint"),
            (
                "params/head",
                WANTED.update(shape=(24, 8)),
                "params/head is 8x24 in the checkpoint, 24x8 in the",
            ),
            (
                "step",
                jax.ShapeDtypeStruct((), jnp.int8),
                "step is int32 in the checkpoint, int8 in the model",
            ),
        ):
            with pytest.raises(UserError, match=why):
                checkpoints.read_below(20, path, wanted)


def test_an_array_that_only_the_manifest_has_is_damage(copy):
    directory, states = copy
    manifest = directory / "30" / "manifest" / "metadata"
    content = json.loads(manifest.read_text())
    content["arrays"]["params/tail"] = content["arrays"].pop("params/head")
    manifest.write_text(json.dumps(content))
    (directory / "30" / "checksums.json").unlink()
    target = abstract(states[30], mesh(fsdp=1)).params
    target["tail"] = target.pop("head")
    refused = pytest.raises(UserError, match=r"cannot be read \(params/tail is not there\)")
    with Checkpoints(directory, read_only=True) as checkpoints, refused:
        checkpoints.restore_entries({"params": target}, step=30)


def test_another_vocabulary_is_refused_with_both(saved):
    directory, states = saved
    target = abstract(states[30], mesh(fsdp=1))
    with Checkpoints(directory, read_only=True) as checkpoints:
        with pytest.raises(
            UserError, match="vocabulary aaaaaaaaaaaa, this recipe has vocabulary bbbbbbbbbbbb"
        ):
            checkpoints.restore(target, fingerprint={"vocabulary": "b" * 64})
        checkpoints.restore(target, fingerprint=MANIFEST["fingerprint"])


def test_nothing_to_restore(tmp_path, saved):
    target = {"x": jax.ShapeDtypeStruct((), jnp.float32)}
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match="no checkpoint in"):
        checkpoints.restore(target)
    lists_them = pytest.raises(UserError, match=r"no checkpoint of step 15 .* it has steps 10, 20, 30")
    with Checkpoints(saved[0], read_only=True) as checkpoints, lists_them:
        checkpoints.restore(target, step=15)
    with pytest.raises(UserError, match="there is no directory"):
        Checkpoints(tmp_path / "absent", read_only=True)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write checkpoints"):
        Checkpoints(tmp_path / "file" / "checkpoints")


def test_a_reader_changes_nothing(copy):
    directory, states = copy
    truncate(directory / "30")
    (directory / "40.orbax-checkpoint-tmp").mkdir()
    before = sorted(directory.rglob("*"))
    with Checkpoints(directory, read_only=True) as checkpoints:
        _, manifest = checkpoints.restore(abstract(states[20], mesh(fsdp=1)))
    assert manifest["step"] == 20
    assert sorted(directory.rglob("*")) == before


def test_inspect_and_verify(copy):
    directory, states = copy
    found = checkpoint_files.inspect(directory.parent)
    assert found["steps"] == [10, 20, 30] and found["step"] == 30
    assert found["parameters"] == sum(x.size for x in jax.tree.leaves(states[30].params))
    assert found["arrays"]["opt_state/0/mu/head"] == {"shape": [8, 24], "dtype": "float32", "bytes": 768}
    assert found["fingerprint"] == MANIFEST["fingerprint"] and found["age_seconds"] < 600
    (directory / "20" / "checksums.json").unlink()
    why = flip_a_bit(directory / "10")
    checked = checkpoint_files.verify(directory)
    assert [row["state"] for row in checked["steps"]] == ["corrupt", "unsummed", "sound"]
    assert why in checked["steps"][0]["why"]
    assert checked["usable"] == [20, 30]
    assert json.loads(json.dumps(checked)) == checked
