"""Held and Suarez' dry atmosphere (BAMS 75, 1825) by dinosaur, a program of its own:

    python -m data_pipelines.fields.held_suarez STORE

Spectral primitive equations at T21 (64 x 32 Gaussian points) on seven sigma levels, steps of an hour
(imex_rk_sil3), horizontal diffusion of second order with a time of 6 hours; from an isothermal atmosphere at
rest with a disturbed surface pressure. What is killed is gone on with from its last restart file, to the same
bytes. A process of its own, since dinosaur is a JAX program: whoever prepares a training run must not start
JAX before it is known on which devices.
"""

import fcntl
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.fields import writing
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.hours import EPOCH
from data_pipelines.fields.variables import FieldNames

SPIN_UP, DAYS = 200, 600  # days before the first state that is kept, and of those that are
EVERY = 6  # hours from one kept state to the next
SEGMENT = 10  # days from one restart file to the next
NAMES = FieldNames(("u", "v", "t"), ("sp",), ())
SOURCE = "Held-Suarez atmosphere, T21, 7 sigma levels, simulated by dinosaur"

State = tuple[np.ndarray, np.ndarray]
Modal = Mapping[str, np.ndarray]


class Atmosphere:
    """The equations, compiled once."""

    def __init__(self) -> None:
        import jax
        from dinosaur import (
            coordinate_systems,
            held_suarez,
            primitive_equations,
            primitive_equations_states,
            scales,
            sigma_coordinates,
            spherical_harmonic,
            time_integration,
            units,
        )

        unit: Any = scales.units
        specs: Any = units.SimUnits.from_si()
        self._specs = specs
        self._unit = unit
        self._sphere = spherical_harmonic
        self._state = primitive_equations.State
        self.coords = coordinate_systems.CoordinateSystem(
            spherical_harmonic.Grid.T21(), sigma_coordinates.SigmaCoordinates.equidistant(7)
        )
        pressure = 1e5 * unit.pascal
        self._begin, features = primitive_equations_states.isothermal_rest_atmosphere(
            self.coords, specs, p0=pressure, p1=5e3 * unit.pascal
        )
        self._reference_L = np.asarray(features["ref_temperatures"])
        equations = time_integration.compose_equations(
            [
                primitive_equations.PrimitiveEquationsSigma(
                    self._reference_L, np.zeros(self.coords.horizontal.modal_shape), self.coords, specs
                ),
                held_suarez.HeldSuarezForcingSigma(self.coords, specs, self._reference_L, p0=pressure),
            ]
        )
        hour: Any = specs.nondimensionalize(1 * unit.hour)
        diffusion = time_integration.horizontal_diffusion_step_filter(
            self.coords.horizontal, hour, 6 * hour, order=2
        )
        step = time_integration.step_with_filters(time_integration.imex_rk_sil3(equations, hour), [diffusion])

        def segment(state: Any) -> tuple[Any, Any]:
            def on(state: Any, _: None) -> tuple[Any, Any]:
                state = jax.lax.fori_loop(0, EVERY, lambda _, inner: step(inner), state)
                return state, self._nodal(state)

            return jax.lax.scan(on, state, None, length=SEGMENT * 24 // EVERY)

        self._segment = jax.jit(segment)

    @property
    def grid(self) -> Grid:
        """As stores have it, from north to south."""
        longitude, sine = self.coords.horizontal.nodal_axes
        return Grid(
            np.rad2deg(np.arcsin(np.asarray(sine, np.float64)))[::-1],
            np.rad2deg(np.asarray(longitude, np.float64)),
            np.asarray(self.coords.vertical.centers, np.float64),
            "1",
        )

    def at_rest(self) -> Modal:
        """The first state, by the names of its parts."""
        import jax

        return self._parts(self._begin(jax.random.key(0)))

    def segment(self, modal: Modal) -> tuple[Modal, Callable[[int], State]]:
        """`SEGMENT` days on: the last state, and those on the way by number, in physical units.

        Raises:
          ValueError: a number is not finite.
        """
        last, (u, v, t, pressure) = self._segment(self._state(**modal))
        speed, kelvin, pascal = (
            self._specs.dimensionalize(1.0, unit).m
            for unit in (self._unit.m / self._unit.s, self._unit.degK, self._unit.pascal)
        )
        upper = np.stack([np.asarray(u) * speed, np.asarray(v) * speed, np.asarray(t) * kelvin], -1)
        surface = np.asarray(pressure)[:, 0, ..., None] * pascal
        if not (np.isfinite(upper).all() and np.isfinite(surface).all()):
            raise ValueError("the simulation has numbers that are not finite")
        # dinosaur has [time, level, LONGITUDE, latitude], latitudes from south to north.
        upper = upper.swapaxes(2, 3)[:, :, ::-1].astype(np.float32)
        surface = surface.swapaxes(1, 2)[:, ::-1].astype(np.float32)
        return self._parts(last), lambda at: (upper[at], surface[at])

    def _nodal(self, state: Any) -> tuple[Any, ...]:
        import jax.numpy as jnp

        horizontal = self.coords.horizontal
        u, v = self._sphere.vor_div_to_uv_nodal(horizontal, state.vorticity, state.divergence)
        t = horizontal.to_nodal(state.temperature_variation) + self._reference_L[:, None, None]
        return u, v, t, jnp.exp(horizontal.to_nodal(state.log_surface_pressure))

    def _parts(self, state: Any) -> Modal:
        names = ("vorticity", "divergence", "temperature_variation", "log_surface_pressure")
        return {name: np.asarray(getattr(state, name)) for name in names}


def simulate(
    path: Path,
    report: Callable[[int, int], None] = lambda day, days: None,
    days: int = DAYS,
    spin_up: int = SPIN_UP,
) -> None:
    """Write the store, or the rest of one that was begun.

    Args:
      path: where it will be; whoever comes while another process is at it waits, and finds it.
      report: told the day that is reached, and of how many.
      days: that are kept, a multiple of `SEGMENT`.
      spin_up: days before them, likewise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        _simulate(path, report, days, spin_up)


def _simulate(path: Path, report: Callable[[int, int], None], days: int, spin_up: int) -> None:
    atmosphere, each = Atmosphere(), SEGMENT * 24 // EVERY
    hours_N = (spin_up * 24 + EVERY * np.arange(1, 1 + days * 24 // EVERY)).astype("timedelta64[h]")
    building = writing.begin(path, atmosphere.grid, NAMES, EPOCH + hours_N, simulated=True, source=SOURCE)
    restart = path.with_name(f".{path.name}.restart.npz")
    day, modal = _restarted(restart, atmosphere)
    while day < spin_up + days:
        modal, state = atmosphere.segment(modal)
        if day >= spin_up:
            for at in range(each):
                writing.put(building, NAMES, (day - spin_up) * 24 // EVERY + at, state(at))
        day += SEGMENT
        beside = restart.with_name(f"{restart.name}.new.npz")
        np.savez(beside, day=day, allow_pickle=False, **modal)
        beside.replace(restart)
        report(day, spin_up + days)
    writing.finish(path)
    restart.unlink(missing_ok=True)


def _restarted(restart: Path, atmosphere: Atmosphere) -> tuple[int, Modal]:
    """The day that was reached and the state then; from the beginning where there is none."""
    try:
        with np.load(restart, allow_pickle=False) as kept:
            return int(kept["day"]), {name: kept[name] for name in kept.files if name != "day"}
    except (OSError, ValueError, KeyError):
        return 0, atmosphere.at_rest()


def main(path: Path) -> None:
    """Simulates into a store; a line on standard output for each segment, an error's last on standard
    error.
    """
    simulate(path, lambda day, days: print(day, days, flush=True))


if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = "cpu"
    main(Path(sys.argv[1]))
