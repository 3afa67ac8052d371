"""From physical units to what a network reads, and back."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.errors import UserError

State = tuple[jax.Array, jax.Array]  # upper [B, L, H, W, U], surface [B, H, W, S]


@dataclass(frozen=True)
class Scales:
    """Means and deviations of states, and of their change over a lead; fp32.

    Attributes:
      upper_mean_LxU: of a state's upper air; `upper_std_LxU` beside it.
      surface_mean_S: of its surface; `surface_std_S` beside it.
      change_upper_mean_LxU: of the change, in units of the state's deviation; likewise the others.
    """

    upper_mean_LxU: np.ndarray
    upper_std_LxU: np.ndarray
    surface_mean_S: np.ndarray
    surface_std_S: np.ndarray
    change_upper_mean_LxU: np.ndarray
    change_upper_std_LxU: np.ndarray
    change_surface_mean_S: np.ndarray
    change_surface_std_S: np.ndarray

    @classmethod
    def of(cls, states: Any, changes: Any) -> "Scales":
        """Of the `Statistics` of states and of their change.

        Raises:
          UserError: a variable never changes, or a number is missing.
        """
        made = {}
        for where in ("upper", "surface"):
            end = "LxU" if where == "upper" else "S"
            mean, std, change_mean, change_std = (
                np.asarray(getattr(one, f"{where}_{kind}_{end}"), np.float64)
                for one in (states, changes)
                for kind in ("mean", "std")
            )
            for what, number in (("deviation", std), ("deviation of the change", change_std)):
                if not (np.isfinite(number).all() and (number > 0).all()):
                    raise UserError(
                        f"the {what} of a {where} variable is 0 or not a number: leave that variable out, or "
                        "build the store again"
                    )
            made[f"{where}_mean_{end}"], made[f"{where}_std_{end}"] = mean, std
            made[f"change_{where}_mean_{end}"], made[f"change_{where}_std_{end}"] = (
                change_mean / std,
                change_std / std,
            )
        return cls(**{name: array.astype(np.float32) for name, array in made.items()})

    def normalised(self, upper_BxLxHxWxU: jax.Array, surface_BxHxWxS: jax.Array) -> State:
        """In units of the deviation, from the mean; any leading dimensions."""
        return (
            (upper_BxLxHxWxU - _levels(self.upper_mean_LxU)) / _levels(self.upper_std_LxU),
            (surface_BxHxWxS - self.surface_mean_S) / self.surface_std_S,
        )

    def physical(self, upper: jax.Array, surface: jax.Array) -> State:
        """The inverse of `normalised`."""
        return (
            upper * _levels(self.upper_std_LxU) + _levels(self.upper_mean_LxU),
            surface * self.surface_std_S + self.surface_mean_S,
        )

    def change(self, upper: jax.Array, surface: jax.Array) -> State:
        """A change of normalised states, from one in units of its own deviation."""
        return (
            upper * _levels(self.change_upper_std_LxU) + _levels(self.change_upper_mean_LxU),
            surface * self.change_surface_std_S + self.change_surface_mean_S,
        )

    def in_changes(self, upper: jax.Array, surface: jax.Array) -> State:
        """A difference of normalised states in units of the deviation of a change."""
        return upper / _levels(self.change_upper_std_LxU), surface / self.change_surface_std_S


def constants(constants_HxWxK: np.ndarray) -> np.ndarray:
    """Fields that do not change, each from its mean in units of its deviation, fp32; missing cells are 0."""
    fields = np.asarray(constants_HxWxK, np.float64)
    if not fields.shape[-1]:
        return fields.astype(np.float32)
    mean, std = np.nanmean(fields, (0, 1)), np.nanstd(fields, (0, 1))
    return np.nan_to_num((fields - mean) / np.where(std > 0, std, 1)).astype(np.float32)


def heights(level_L: np.ndarray, units: str) -> np.ndarray:
    """The height of each level, from their mean in units of their deviation, fp32 [L].

    Of pressure levels (hPa) the height in the standard atmosphere (ISO 2533, its troposphere's formula
    throughout); of sigma levels likewise at 1013.25 hPa below. The constant of the released weights is not
    public: importing them takes theirs.
    """
    share = np.asarray(level_L, np.float64) / (1013.25 if units == "hPa" else 1.0)
    height = 44330.77 * (1 - share**0.190263)
    return ((height - height.mean()) / max(height.std(), 1e-6)).astype(np.float32)


def _levels(numbers_LxU: np.ndarray) -> jax.Array:
    return jnp.asarray(numbers_LxU)[:, None, None, :]
