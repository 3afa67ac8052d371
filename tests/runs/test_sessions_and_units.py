"""sessions.jsonl and units.json: what was once text, as data."""

from pangu_jax.runs import sessions, units
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.runs.sessions import Session


def test_a_session_that_resumes_from_before_another_takes_its_place():
    assert sessions.resumes([Session(step) for step in (0, 12, 18)]) == [12, 18]
    assert sessions.resumes([Session(step) for step in (0, 12, 18, 12)]) == [12]
    assert sessions.resumes([Session(step) for step in (0, 12, 6, 0)]) == []


def test_units_are_written_when_one_is_new(tmp_path):
    directory = RunDirectory(tmp_path)
    units.record(directory, {"loss": "nats per token", "mfu": ""})
    assert units.read(directory) == {"loss": "nats per token"}
    written = directory.units.stat().st_ino
    units.record(directory, {"loss": "nats per token", "mfu": ""})
    assert directory.units.stat().st_ino == written
    units.record(directory, {"rmse/z500": "m", "loss": ""})
    assert units.read(directory) == {"rmse/z500": "m"}
    parts = {"loss": "nats", "rmse": "K"}
    assert units.unit_of("validation_loss/span", parts) == "nats"
    assert units.unit_of("validation_rmse", parts) == "K" and units.unit_of("lossless", parts) == ""
