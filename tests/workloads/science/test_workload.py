"""A forecast model as the trainer and apps see it: losses, targets, rollout, missing cells."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.fields.grid import Grid
from data_pipelines.fields.variables import FieldNames
from pangu_jax import recipes
from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.recipes import functions
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.science import stored_fields
from pangu_jax.workloads.science.losses import FieldLoss
from pangu_jax.workloads.science.model.earth import EarthConfig
from tests.workloads.science import small_fields

RUN = RunContext(OneDevice())
BATCH = 3


@pytest.fixture(scope="module")
def trained():
    """A model of increments over two steps, its variables, and one compiled step of it."""
    model = small_fields.model(2, targets="increment", latitude_weights=True, variable_weights={"t": 2.0})
    variables = model.init(jax.random.key(0))
    return model, variables, jax.jit(lambda v, upper, surface: model.step(v, upper, surface, RUN))


def test_a_loss_is_that_of_steps_one_after_the_other(trained):
    model, variables, step = trained
    batch = small_fields.batch(BATCH, 2)
    batch["upper"][0, 1, 0, 3, :5, 0] = np.nan  # missing in the truth, and read as the mean in no step
    sums = jax.jit(lambda v, b: model.loss(v, b, None, RUN))(variables, batch)
    state, total, rows = (batch["upper"][:, 0], batch["surface"][:, 0]), 0.0, model.data.grid.weights_H
    for lead in (1, 2):
        state = step(variables, *state)
        upper = (
            np.abs(state[0] - batch["upper"][:, lead]) / model.data.increments.upper_std_LxU[:, None, None]
        )
        surface = np.abs(state[1] - batch["surface"][:, lead]) / model.data.increments.surface_std_S
        there = np.isfinite(upper) * rows[:, None, None]
        by_variable = (np.nan_to_num(upper) * there).sum((1, 2, 3)) / there.sum((1, 2, 3))
        of_surface = (surface * rows[:, None, None]).mean((1, 2, 3))
        total += (by_variable * [1.0, 2.0]).mean(-1) + 0.25 * of_surface
    assert sums.weight == BATCH - 1
    np.testing.assert_allclose(sums.loss, (total / 2)[:-1].sum(), rtol=1e-4)
    assert set(sums.metrics) == {"loss/forecast", "error/z", "error/t", "error/msl"}


def test_a_missing_cell_of_a_state_is_read_as_its_mean(trained):
    model, variables, step = trained
    batch = small_fields.batch(1)
    filled, holes = batch["upper"][:, 0].copy(), batch["upper"][:, 0].copy()
    filled[0, 1, 2, 3, 0], holes[0, 1, 2, 3, 0] = model.data.statistics.upper_mean_LxU[1, 0], np.nan
    made = [np.asarray(step(variables, upper, batch["surface"][:, 0])[0]) for upper in (filled, holes)]
    np.testing.assert_allclose(*made, rtol=1e-4, atol=1e-3)


def test_nothing_of_a_variable_counts_where_it_is_missing_everywhere():
    loss = FieldLoss("mse", np.ones(2, np.float32), np.ones(1, np.float32), 1.0, None)
    upper = jnp.stack([jnp.full((1, 2, 3, 4), jnp.nan), jnp.full((1, 2, 3, 4), 2.0)], -1)
    gradient = jax.grad(lambda u: loss((u, jnp.zeros((1, 3, 4, 1))))[0].sum())(upper)
    total, by_variable, _ = loss((upper, jnp.zeros((1, 3, 4, 1))))
    assert by_variable.tolist() == [[0.0, 4.0]] and total.tolist() == [2.0]
    assert np.isfinite(gradient).all()


def test_a_run_keeps_what_forecasts_need(tmp_path, trained):
    grid = small_fields.SmallGrid()
    kept = dataclasses.replace(
        trained[0].data,
        grid=Grid(grid.latitude_H, grid.longitude_W, grid.level_L),
        names=FieldNames(small_fields.UPPER, small_fields.SURFACE, small_fields.CONSTANTS),
    )
    for name, contents in stored_fields.files(kept).items():
        (tmp_path / name).write_bytes(contents)
    found = stored_fields.opened(tmp_path)
    assert (found.grid, found.names, found.lead_hours) == (kept.grid, kept.names, 24)
    np.testing.assert_array_equal(found.statistics.upper_std_LxU, kept.statistics.upper_std_LxU)
    np.testing.assert_array_equal(found.constants_HxWxK, kept.constants_HxWxK)
    (tmp_path / stored_fields.FILE).write_text("{")
    with pytest.raises(UserError, match="is missing or damaged"):
        stored_fields.opened(tmp_path)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"model": dataclasses.replace(small_fields.EARTH, levels=4)}, "levels = 4, and the fields have 3"),
        ({"model": dataclasses.replace(small_fields.EARTH, periodic=False)}, "go around the globe"),
        ({"rollout": 2}, "rollout = 2, and fields.steps = 1"),
        ({"variable_weights": {"msk": 1.0}}, "did you mean 'msl'"),
        ({"variable_weights": {"z": -1.0}}, "must not be below 0"),
    ],
)
def test_what_does_not_fit_is_one_line(changes, part):
    with pytest.raises(UserError, match=part):
        small_fields.model(**changes)


def test_the_published_recipe_is_the_published_model():
    recipe = recipes.load(
        ["science/pangu_weather.gin"], ["fields.path='absent.zarr'"], function=functions.TRAIN
    )
    recipes.require_valid(recipe)
    workload = recipes.make(recipe, recipe.arguments(functions.TRAIN)["workload"], "")
    assert workload.model == EarthConfig()
    assert workload.field_loss.upper_U.tolist() == pytest.approx([3.0, 0.6, 1.5, 0.77, 0.54])
    assert workload.flops_per_step(1) == pytest.approx(3 * 8.42e12, rel=0.02)
