"""Simulated equations: solutions, symmetries, and simulations that a grid does not resolve."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.equations import solving
from data_pipelines.equations.equations import burgers, navier_stokes
from data_pipelines.equations.problem import Problem
from data_pipelines.equations.simulation import simulate
from data_pipelines.equations.solution_set import moved
from data_pipelines.errors import DataError

LINE = Problem("burgers", 64, 0.02, 0.02, 0.002, 2, 3, 4, 3, 0)
PLANE = Problem("navier_stokes", 16, 1e-3, 0.5, 0.05, 1, 2, 2, 2, 0)


@pytest.fixture(scope="module")
def line():
    return simulate(LINE, 3, 0)


def test_a_simulation_is_made_once_kept_and_read_in_batches(tmp_path, monkeypatch):
    kept = {
        field.name: getattr(LINE, field.name)
        for field in dataclasses.fields(LINE)
        if field.name != "equation"
    }
    found = burgers(**kept, cache_dir=str(tmp_path))
    batch = found.train_source(4, seed=0).batch(1)
    assert batch["input"].shape == batch["target"].shape == (4, 64, 1) and batch["input"].dtype == np.float32
    np.testing.assert_array_equal(found.train_source(2, seed=0).batch(2)["input"], batch["input"][:2])
    held_out = found.validation_sources(4)["burgers"]
    assert len(held_out) == 2 and held_out.batch(1)["weight"].tolist() == [1, 1, 0, 0]
    states = found.states("held_out")
    np.testing.assert_array_equal(held_out.batch(0)["input"][1, :, 0], states[0, 1])
    assert found.finer_source(4).batch(0)["input"].shape == (4, 128, 1)
    assert found.solved.manifest["resolution_error"] < 0.01 and found.notices() == []
    monkeypatch.setattr(solving, "_build", lambda *_: pytest.fail("it is simulated again"))
    assert burgers(**kept, cache_dir=str(tmp_path)).order() == found.order()


def test_initial_states_are_of_their_number_and_the_same_on_a_finer_grid(line):
    np.testing.assert_allclose(simulate(LINE, 1, 2)[0], line[2], atol=1e-5)
    np.testing.assert_allclose(line[:, 0].std(1), 1, atol=1e-4)
    fine = simulate(LINE, 3, 0, finer=2)
    np.testing.assert_allclose(fine[:, 0, ::2], line[:, 0], atol=1e-5)


def test_mean_is_kept_and_energy_falls(line):
    np.testing.assert_allclose(line.mean(-1), 0, atol=1e-5)
    assert (np.diff(np.square(line).mean(-1), axis=1) < 0).all()


@pytest.mark.parametrize("problem", [LINE, PLANE], ids=lambda problem: problem.equation)
def test_symmetric_copies_are_solutions(problem, monkeypatch):
    """What is moved and then advanced is what is advanced and then moved."""
    import exponax
    import jax

    states = simulate(problem, 1, 0)[0, :2]
    kind = exponax.stepper.Burgers if problem.space == 1 else exponax.stepper.NavierStokesVorticity
    stepper = kind(problem.space, 1.0, problem.points, problem.step, diffusivity=problem.viscosity)
    advance = jax.jit(exponax.repeat(stepper, problem.steps))
    for seed in range(4):
        first, second = moved(states, problem.equation, np.random.default_rng(seed))
        np.testing.assert_allclose(advance(first[None])[0], second, atol=2e-4)


def written(folder, problem, change):
    """A folder as the simulation leaves it, with one part changed."""
    parts = {"train": 1, "held_out": 1, "held_out_fine": 2}
    for name, finer in parts.items():
        states = np.ones((2, 2, finer * problem.points), np.float32)
        np.save(folder / f"{name}.npy", change(name, states))
    return folder


def test_what_is_not_finite_or_not_resolved_is_refused(tmp_path):
    def broken(name, states):
        if name == "train":
            states[1, 1, 3] = np.nan
        return states

    with pytest.raises(
        DataError, match=r"1 of 2 simulations \(train\) of burgers are not finite.*burgers.step"
    ):
        solving.looked_at(LINE, written(tmp_path, LINE, broken))
    coarse = written(tmp_path, LINE, lambda name, states: states * (1.2 if name == "held_out" else 1))
    with pytest.raises(DataError, match=r"differ by 20\.0% .*does not resolve"):
        solving.looked_at(LINE, coarse)


def test_an_under_resolved_simulation_is_told_and_leaves_nothing(tmp_path):
    """Steep fronts on few points: exponax gives numbers that are no solution, and says nothing."""
    found = burgers(
        points=32, viscosity=1e-4, lead=0.4, step=0.01, waves=5, runs=2, held_out=2, cache_dir=str(tmp_path)
    )
    with pytest.raises(DataError, match=r"burgers.*raise burgers.points or burgers.viscosity"):
        found.train_source(2, 0)
    assert not list(tmp_path.glob("burgers-*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"viscosity": 0.0}, "burgers.viscosity = 0.0 must be above 0"),
        ({"lead": 0.0105}, "no multiple of burgers.step"),
        ({"points": 8}, "cannot show 5 waves"),
        ({"runs": 0}, "burgers.runs = 0 must be at least 1"),
    ],
)
def test_values_that_cannot_be(change, message):
    with pytest.raises(DataError, match=message):
        burgers(**change)


def test_navier_stokes_is_two_dimensional():
    assert navier_stokes().points == (64, 64)
