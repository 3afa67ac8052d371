"""Operators: symmetry, other grids, a layout, and what they are measured beside."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import gradients
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.science.operators import OperatorModel
from pangu_jax.workloads.science.operators.controls import SpectralLinearMap, relative_l2, truncated
from pangu_jax.workloads.science.operators.fourier import FourierConfig
from pangu_jax.workloads.science.operators.patched import PatchedConfig
from pangu_jax.workloads.science.operators.solution_data import NoSolutions, files, opened

DATA = NoSolutions((8, 8), 0.5)
FOURIER = OperatorModel(FourierConfig(space=2, modes=3, width=8, hidden=8, layers=2), DATA)
PATCHED = OperatorModel(PatchedConfig(space=2, patch=2, width=8, hidden=8, layers=2, heads=2), DATA)
RUN = RunContext(OneDevice())


def batch(size):
    rng = np.random.default_rng(0)
    weight = np.ones(size, np.float32)
    weight[-1] = 0
    return {
        "input": rng.normal(size=(size, 8, 8, 1)).astype(np.float32),
        "target": rng.normal(size=(size, 8, 8, 1)).astype(np.float32),
        "weight": weight,
        "task_id": np.zeros(size, np.int32),
    }


def loss_and_gradient(workload, layout):
    assert layouts.check(layout, 8, workload.dimensions()) == []
    mesh = make_mesh(layout, jax.devices()[: math.prod(layout.axis_sizes().values())])
    gradient = gradients.make_gradients(workload, layout, mesh, RUN, 8)
    params = workload.init(jax.random.key(0)).params
    grads, sums = jax.jit(lambda p, b: gradient(Variables(p), b, None))(params, batch(8))
    return jax.device_get((sums.loss / sums.weight, grads))


@pytest.mark.parametrize("workload", [FOURIER, PATCHED], ids=["fourier", "patched"])
def test_a_layout_changes_nothing(workload):
    alone = loss_and_gradient(workload, Layout(data=1))
    shared = loss_and_gradient(workload, Layout(data=2, fsdp=2, partitioning="manual", microbatches=2))
    for want, got in zip(jax.tree.leaves(alone), jax.tree.leaves(shared), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * max(np.abs(want).max(), 1e-3))


@pytest.mark.parametrize("axis", ["model", "sequence"])
def test_layouts_that_would_cut_a_field_are_refused(axis):
    assert layouts.check(Layout(data=1, **{axis: 2}), 8, FOURIER.dimensions())


def test_a_shifted_field_gives_the_shifted_answer_and_a_finer_grid_the_same_one():
    place = np.arange(8) / 8
    x = np.sin(2 * np.pi * place)[:, None] + np.cos(2 * np.pi * (place - 0.3))[None, :]
    variables = FOURIER.init(jax.random.key(1))
    x = jnp.asarray(x[None, ..., None], jnp.float32)
    made = FOURIER.step(variables, x, RUN)
    moved = FOURIER.step(variables, jnp.roll(x, (3, 5), (1, 2)), RUN)
    np.testing.assert_allclose(moved, jnp.roll(made, (3, 5), (1, 2)), atol=2e-6)
    fine_place = np.arange(32) / 32
    fine = np.sin(2 * np.pi * fine_place)[:, None] + np.cos(2 * np.pi * (fine_place - 0.3))[None, :]
    fine = FOURIER.step(variables, jnp.asarray(fine[None, ..., None], jnp.float32), RUN)
    # What GELU makes at a point has all wave numbers: the coarse grid folds those that it has not.
    np.testing.assert_allclose(fine[:, ::4, ::4], made, atol=0.02)


def test_the_transformer_reads_other_grids_of_whole_patches():
    variables = PATCHED.init(jax.random.key(0))
    assert PATCHED.step(variables, jnp.ones((1, 12, 16, 1)), RUN).shape == (1, 12, 16, 1)
    with pytest.raises(UserError, match=r"no multiple of OperatorTransformer.patch = 3"):
        OperatorModel(PatchedConfig(space=2, patch=3, width=8, heads=2), DATA)


def test_a_model_of_other_dimensions_is_refused():
    with pytest.raises(UserError, match=r"space = 1, and fields have 2 dimensions"):
        OperatorModel(FourierConfig(space=1), DATA)


def test_flops_are_those_of_the_compiled_program():
    cost = jax.jit(lambda x: FOURIER.step(FOURIER.init(jax.random.key(0)), x, RUN))
    compiled = jax.jit(lambda v, x: FOURIER.step(v, x, RUN)).lower(
        jax.eval_shape(FOURIER.init, jax.random.key(0)), jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    )
    del cost
    counted = compiled.compile().cost_analysis()["flops"]
    assert FOURIER.model.flops((8, 8)) == pytest.approx(counted, rel=0.5)


def test_the_linear_map_finds_a_linear_equation_and_the_cut_spectrum_its_floor():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 12))
    wave = np.arange(7)
    y = np.fft.irfft(np.fft.rfft(x) * np.exp(-0.1 * wave**2 + 0.5j * wave * (wave < 6)), 12)
    fitted = SpectralLinearMap(x[:30], y[:30])
    assert relative_l2(fitted(x[30:]), y[30:]) < 1e-6
    assert relative_l2(x, y) > 0.5
    low = np.sin(2 * np.pi * 2 * np.arange(12) / 12)[None]
    assert relative_l2(truncated(low, 3), low) < 1e-6
    assert relative_l2(truncated(low, 2), low) == pytest.approx(1)


def test_what_a_run_keeps_is_read_back_and_damage_is_said(tmp_path):
    for name, content in files(DATA).items():
        (tmp_path / name).write_bytes(content)
    assert opened(tmp_path) == DATA
    (tmp_path / "equation.json").write_text("{}")
    with pytest.raises(UserError, match=r"equation.json is missing or damaged"):
        opened(tmp_path)
