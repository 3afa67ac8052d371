"""Simulated atmospheres: found or refused; killed and gone on with, to the same bytes."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.fields import held_suarez, simulated


def test_a_name_that_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"'simulated:held_suares': there is simulated:held_suarez"):
        simulated.prepared("held_suares", tmp_path)


def test_a_simulation_tells_how_far_it_is_and_what_went_wrong(tmp_path, monkeypatch):
    """By programs in its place: the paths and the words are those of the real one."""
    (tmp_path / "good_program.py").write_text(
        "import pathlib, sys\nfor day in (10, 20, 30): print(day, 30, flush=True)\n"
        "pathlib.Path(sys.argv[1]).mkdir()\n"
    )
    (tmp_path / "bad_program.py").write_text("raise ValueError('numbers that are not finite')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    program = lambda name: SimpleNamespace(__name__=name, SPIN_UP=0, DAYS=1, EVERY=6, SEGMENT=1)  # noqa: E731
    monkeypatch.setattr(
        simulated, "SIMULATIONS", {"good": program("good_program"), "bad": program("bad_program")}
    )
    said: list[str] = []
    path = simulated.prepared("good", tmp_path, said.append)
    assert (
        path.is_dir()
        and "day 30 of 30, about 0 s left" in said[1]
        and said[2].startswith("simulated good in")
    )
    assert simulated.prepared("good", tmp_path, pytest.fail) == path
    with pytest.raises(DataError, match=r"bad ended with 1: ValueError: numbers that are not finite"):
        simulated.prepared("bad", tmp_path, said.append)


@pytest.mark.prove
def test_killed_and_gone_on_with_it_has_the_same_bytes(tmp_path):
    """30 days, without spin-up: once in one go, once killed after ten days."""
    code = (
        "import sys, pathlib; from data_pipelines.fields import held_suarez; "
        "held_suarez.simulate(pathlib.Path(sys.argv[1]), lambda *day: print(*day, flush=True), "
        "days=20, spin_up=10)"
    )

    def run(path):
        return subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(whole).wait() == 0
    process = run(cut)
    while process.stdout.readline().split() != ["20", "30"]:
        pass
    process.kill()
    process.wait()
    assert not cut.exists()
    process = run(cut)
    assert process.stdout.read().split() == ["30", "30"] and process.wait() == 0
    names = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(cut) for path in cut.rglob("*") if path.is_file())
    assert all((whole / name).read_bytes() == (cut / name).read_bytes() for name in names)
    about = json.loads((whole / "zarr.json").read_text())["attributes"]["pangu_fields"]
    assert about["names"]["upper"] == list(held_suarez.NAMES.upper) and about["simulated"]

    import xarray

    opened = xarray.open_zarr(whole)
    assert opened.u.dims == ("time", "level", "latitude", "longitude") and opened.sizes["latitude"] == 32
    assert np.isfinite(opened.t).all() and 9e4 < float(opened.sp.min()) < float(opened.sp.max()) < 1.1e5
