"""The error of a forecast: by variable, over the cells that are there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.errors import UserError, suggestion

Kind = Literal["mae", "mse"]


@dataclass(frozen=True)
class FieldLoss:
    """A mean over cells for each variable, and a mean over variables by weight.

    Attributes:
      kind: "mae" for magnitudes, "mse" for squares.
      upper_U: weight of each upper variable.
      surface_S: of each surface variable.
      surface_share: of the surface's mean beside the upper air's.
      rows_H: weight of each latitude, mean 1; None where all cells count alike, as published.
    """

    kind: Kind
    upper_U: np.ndarray
    surface_S: np.ndarray
    surface_share: float
    rows_H: np.ndarray | None

    def __call__(self, difference: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The loss [B], and the unweighted mean of each variable, [B, U] and [B, S]; fp32.

        Args:
          difference: forecast less truth of the upper air [B, L, H, W, U] and of the surface [B, H, W, S],
            NaN where the truth is missing.
        """
        upper_BxU, surface_BxS = (self._by_variable(part) for part in difference)
        loss_B = jnp.mean(upper_BxU * self.upper_U, -1)
        loss_B += self.surface_share * jnp.mean(surface_BxS * self.surface_S, -1)
        return loss_B, upper_BxU, surface_BxS

    def _by_variable(self, difference: jax.Array) -> jax.Array:
        """Means over all dimensions but the first and the last."""
        there = jnp.isfinite(difference)
        found = jnp.where(there, difference, 0.0)
        error = jnp.abs(found) if self.kind == "mae" else jnp.square(found)
        over = tuple(range(1, difference.ndim - 1))
        weight = there.astype(jnp.float32)
        if self.rows_H is not None:
            weight = weight * jnp.asarray(self.rows_H, jnp.float32)[:, None, None]
        return jnp.sum(error * weight, over) / jnp.maximum(jnp.sum(weight, over), 1e-6)


def weights_of(names: tuple[str, ...], given: Mapping[str, float]) -> np.ndarray:
    """The weight of each variable, 1 where none is given, fp32."""
    return np.array([float(given.get(name, 1.0)) for name in names], np.float32)


def require_known(given: Mapping[str, float], names: tuple[str, ...]) -> None:
    """UserError for a weight of a variable that is not there, or below 0."""
    for name, weight in given.items():
        if name not in names:
            raise UserError(
                f"ForecastModel.variable_weights has '{name}', which is none of {', '.join(names)}"
                f"{suggestion(name, names)}"
            )
        if not weight >= 0:
            raise UserError(f"ForecastModel.variable_weights['{name}'] = {weight} must not be below 0")
