"""Whether a checkpoint fits the model and vocabulary it is restored into; known before any array is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from pangu_jax.errors import UserError

FIRST_FEW = 3


def describe(state: Any) -> dict[str, dict[str, Any]]:
    """{path: {"shape", "dtype", "bytes"}} of every array of a pytree (real or abstract), in tree order."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): {
            "shape": list(leaf.shape),
            "dtype": str(leaf.dtype),
            "bytes": leaf.size * leaf.dtype.itemsize,
        }
        for path, leaf in jax.tree.leaves_with_path(state)
    }


def mesh_axes(state: Any) -> dict[str, int]:
    """Axis sizes of the mesh the state lives on; empty off any mesh."""
    for leaf in jax.tree.leaves(state):
        if isinstance(sharding := getattr(leaf, "sharding", None), jax.sharding.NamedSharding):
            return dict(sharding.mesh.shape)
    return {}


def require_same_fingerprint(
    step_directory: Path, saved: Mapping[str, str], wanted: Mapping[str, str]
) -> None:
    """Raises UserError if a hash both have differs, as when another vocabulary was trained since."""
    for name, value in wanted.items():
        if name in saved and saved[name] != value:
            raise UserError(
                f"{step_directory} was trained with {name} {saved[name][:12]}, this recipe has {name} "
                f"{value[:12]}; bring back that {name} (`pangu checkpoint inspect` shows the recipe it came "
                "from) or train in another run directory"
            )


def require_same_structure(
    step_directory: Path, saved: Mapping[str, Mapping[str, Any]], target: Any, partial: bool = False
) -> None:
    """Compare the saved arrays with those asked for.

    Args:
        saved: `describe` of the state that was saved.
        target: pytree of jax.ShapeDtypeStruct.
        partial: top-level entries of the state that `target` does not have are no difference.
    Raises:
        UserError: an array is missing on one side, has another shape, or another kind of dtype (only
            floating-point dtypes are cast into each other); names the first few.
    """
    wanted = describe(target)
    if partial:
        entries = {path.split("/")[0] for path in wanted}
        saved = {path: array for path, array in saved.items() if path.split("/")[0] in entries}
    differences = []
    for path in [*wanted, *(path for path in saved if path not in wanted)]:
        if path not in saved:
            differences.append(f"{path} is not in the checkpoint")
        elif path not in wanted:
            differences.append(f"{path} is only in the checkpoint")
        else:
            before, now = saved[path], wanted[path]
            if before["shape"] != now["shape"]:
                differences.append(
                    f"{path} is {_shape(before)} in the checkpoint, {_shape(now)} in the model"
                )
            elif not _castable(before["dtype"], now["dtype"]):
                differences.append(
                    f"{path} is {before['dtype']} in the checkpoint, {now['dtype']} in the model"
                )
    if differences:
        more = f", and {len(differences) - FIRST_FEW} more" if len(differences) > FIRST_FEW else ""
        raise UserError(
            f"{step_directory} does not fit the model: {', '.join(differences[:FIRST_FEW])}{more}; "
            "use its own recipe (`pangu checkpoint inspect` shows it) or train in another run directory"
        )


def _castable(saved: str, wanted: str) -> bool:
    if saved == wanted:
        return True
    try:
        return jnp.issubdtype(saved, jnp.floating) and jnp.issubdtype(wanted, jnp.floating)
    except TypeError:  # a random key's dtype has no name jnp knows
        return False


def _shape(array: Mapping[str, Any]) -> str:
    return "x".join(map(str, array["shape"])) or "a scalar"
