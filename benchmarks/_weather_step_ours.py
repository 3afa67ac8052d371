"""An Earth-specific transformer's training step by this library, as `pangu train` runs it, for
benchmarks/weather_step.py."""

import sys
from collections.abc import Callable
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import weather_step as shape
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training.optimizers import adamw
from pangu_jax.training.step import init_state, make_train_step
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.science import ForecastModel
from pangu_jax.workloads.science.data import NoFields
from pangu_jax.workloads.science.model.earth import EarthConfig
from tpu_npu_backends import selection


def workload() -> ForecastModel:
    """Of the benchmark's shape; states are normalised already."""
    levels, upper, surface = shape.LEVELS, shape.UPPER, shape.SURFACE
    grid = SimpleNamespace(shape=(levels, shape.LATITUDES, shape.LONGITUDES), periodic=True)
    names = SimpleNamespace(
        **{
            name: tuple(f"{name}{n}" for n in range(count))
            for name, count in (("upper", upper), ("surface", surface), ("constants", shape.CONSTANTS))
        }
    )
    unit = SimpleNamespace(
        upper_mean_LxU=np.zeros((levels, upper)), upper_std_LxU=np.ones((levels, upper)),
        surface_mean_S=np.zeros(surface), surface_std_S=np.ones(surface),
    )  # fmt: skip
    constants = np.zeros((shape.LATITUDES, shape.LONGITUDES, shape.CONSTANTS), np.float32)
    first, second = shape.DEPTHS
    model = EarthConfig(
        levels=levels, latitude=shape.LATITUDES, longitude=shape.LONGITUDES, upper=upper, surface=surface,
        constants=shape.CONSTANTS, patch=shape.PATCH, window=shape.WINDOW, dims=shape.DIMS, heads=shape.HEADS,
        depths=(first, second, second, first),
    )  # fmt: skip
    return ForecastModel(model, NoFields(grid, names, 24, 1, unit, unit, constants))


def step(forward: bool) -> Callable[[], float]:
    """A function that makes a step, or a forward pass alone, and gives its loss."""
    backend = selection.select("cpu")
    layout = Layout().on(len(backend.devices))
    mesh = make_mesh(layout, list(backend.devices))
    model, optimizer = workload(), adamw(clip=0.0)
    run = RunContext(OneDevice(backend.native), "none", jnp.dtype("float32"))
    state = init_state(model, optimizer, mesh, 0)
    print(f"ours: {sum(leaf.size for leaf in jax.tree.leaves(state.params)):,} parameters", file=sys.stderr)
    upper, surface = shape.drawn()
    numbers = jnp.arange(shape.BATCH, dtype=jnp.int32)
    batch = {"upper": upper, "surface": surface, "time": numbers, "place": numbers, "task_id": 0 * numbers}
    batch["weight"] = jnp.ones(shape.BATCH)
    if forward:
        sums = jax.jit(
            lambda params: model.loss(Variables(params), batch, None, run).loss / shape.BATCH,
            compiler_options=backend.compiler_options,
        )
        return lambda: float(sums(state.params))
    options = {"batch_size": shape.BATCH, "seed": 0, "compiler_options": backend.compiler_options}
    train_step = make_train_step(model, optimizer, run, layout, mesh, **options)

    def advance() -> float:
        nonlocal state
        state, metrics = train_step(state, batch)
        return float(metrics["loss"])

    return advance
