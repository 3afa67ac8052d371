"""What a finished operator shows: its errors beside those of controls, and fields."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.workloads.exhibits import Exhibit, Image, Table
from pangu_jax.workloads.science.operators.controls import SpectralLinearMap, relative_l2, truncated
from pangu_jax.workloads.science.operators.solution_data import NoSolutions, SolutionData

AT_A_TIME = 16  # fields in one call
SHOWN = 2
BAND = 24  # pixels of a line's height
SCALE = 3  # pixels of a point's side


def baselines(data: SolutionData) -> dict[str, dict[str, float]]:
    """Relative L2 on what is held out of predictors that are no network."""
    if isinstance(data, NoSolutions):
        return {}
    x, y = pairs(data.states("held_out"))
    linear = SpectralLinearMap(*pairs(data.states("train")))
    return {"operator": {"standing still": relative_l2(x, y), "linear map": relative_l2(linear(x), y)}}


def exhibits(data: SolutionData, step: Callable[[jax.Array], jax.Array], modes: int) -> list[Exhibit]:
    """A table of errors, and pictures of held-out fields.

    Args:
      data: whose held-out solutions are shown.
      step: fields [B, *points, 1] one lead later.
      modes: wave numbers that the model keeps; 0 where it cuts no spectrum.
    """
    if isinstance(data, NoSolutions):
        return []
    x, y = pairs(data.states("held_out"))
    made = predicted(step, x)
    rows: list[tuple[str, float]] = [("model", relative_l2(made, y))]
    rows += baselines(data)["operator"].items()
    if modes:
        rows.append((f"the truth's own wave numbers below {modes}", relative_l2(truncated(y, modes), y)))
    fine_x, fine_y = pairs(data.states("held_out_fine"))
    rows.append(("model on twice the grid", relative_l2(predicted(step, fine_x), fine_y)))
    places = np.linspace(0, len(x) - 1, SHOWN).astype(int)
    shown = [picture(f"held out {place}", x[place], y[place], made[place]) for place in places]
    return [Table("Errors beside controls", ("", "relative L2"), rows), *shown]


def pairs(states_RxTxS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets [N, *points] of simulations."""
    shape = (-1, *states_RxTxS.shape[2:])
    return states_RxTxS[:, :-1].reshape(shape), states_RxTxS[:, 1:].reshape(shape)


def predicted(step: Callable[[jax.Array], jax.Array], field_NxS: np.ndarray) -> np.ndarray:
    """`step` of fields [N, *points], so many at a time; the last call is filled up."""
    made = []
    for first in range(0, len(field_NxS), AT_A_TIME):
        part = field_NxS[first : first + AT_A_TIME]
        full = np.concatenate([part, np.repeat(part[-1:], AT_A_TIME - len(part), 0)])
        made.append(np.asarray(step(jnp.asarray(full[..., None])))[: len(part), ..., 0])
    return np.concatenate(made)


def picture(title: str, x: np.ndarray, truth: np.ndarray, found: np.ndarray) -> Image:
    """Input, truth, found and ten times their difference beside each other, by one scale of colours."""
    limit = max(float(np.abs(truth).max()), 1e-12)
    parts = []
    for field in (x, truth, found, 10 * (found - truth)):
        plane = np.broadcast_to(field, (BAND, field.shape[0])) if field.ndim == 1 else field
        plane = plane.reshape(*plane.shape[:2], -1)[..., 0]
        side = (1, SCALE) if field.ndim == 1 else (SCALE, SCALE)
        parts.append(np.kron(np.clip(plane / limit, -1, 1), np.ones(side)))
    joined = np.concatenate(parts, axis=0 if x.ndim == 1 else 1)
    return Image(f"{title}: input, truth, found, 10 x difference", _coloured(joined))


def _coloured(value_HxW: np.ndarray) -> np.ndarray:
    """-1 blue, 0 white, 1 red; uint8."""
    cold, warm = np.clip(-value_HxW, 0, 1), np.clip(value_HxW, 0, 1)
    rgb = np.stack([1 - cold, 1 - 0.8 * (cold + warm), 1 - warm], -1)
    return np.round(255 * rgb).astype(np.uint8)
