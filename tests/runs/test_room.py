"""Weights for which there is no room: said before they are read, with what would do."""

import types

import jax
import jax.numpy as jnp
import pytest

from pangu_jax import cli
from pangu_jax.errors import UserError
from pangu_jax.runs import room
from tests.runs import made_up


def weights(sharding) -> dict:
    return {"w": jax.ShapeDtypeStruct((8, 256), jnp.float32, sharding=sharding)}


@pytest.fixture
def on_cpu():
    return jax.sharding.SingleDeviceSharding(jax.devices("cpu")[0])


def test_a_run_that_does_not_fit_is_refused_unread(tmp_path, capsys, monkeypatch):
    vocabulary = made_up.words(tmp_path)
    run = made_up.language_run(tmp_path / "run", vocabulary, steps=(4,))
    monkeypatch.setattr(room, "machine_bytes", lambda: 10_000)
    asked = ["--run_dir", str(run), "--backend", "cpu"]
    assert cli.main(["generate", *asked, "--prompt", "好"]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    for said in ("this machine has 10,000 bytes", "pangu plan --for generate", "compute_dtype=bfloat16"):
        assert said in error


def test_weights_count_as_often_as_they_are_held(tmp_path, monkeypatch, on_cpu):
    monkeypatch.setattr(room, "machine_bytes", lambda: 2**13)
    room.require_memory(weights(on_cpu), tmp_path)
    with pytest.raises(UserError, match="16,384 bytes of memory in float32, once as stored and once"):
        room.require_memory(weights(on_cpu), tmp_path, times=2)


def test_devices_count_one_by_one(tmp_path, monkeypatch):
    device = types.SimpleNamespace(
        platform="cuda", device_kind="H100", memory_stats=lambda: {"bytes_limit": 9}
    )
    halves = types.SimpleNamespace(addressable_devices=[device] * 2, shard_shape=lambda shape: (4, 256))
    leaf = types.SimpleNamespace(sharding=halves, shape=(8, 256), size=2048, dtype=jnp.dtype("bfloat16"))
    with pytest.raises(
        UserError, match=r"2,048 bytes of memory in bfloat16, and a H100 has 9 bytes.*model=N"
    ):
        room.require_memory([leaf], tmp_path)


def test_a_container_has_less_than_its_machine(tmp_path, monkeypatch):
    (limit := tmp_path / "memory.max").write_text("12345\n")
    monkeypatch.setattr(room, "CONTROL_GROUP", limit)
    assert room.machine_bytes() == 12345
    limit.write_text("max\n")
    assert room.machine_bytes() > 12345
