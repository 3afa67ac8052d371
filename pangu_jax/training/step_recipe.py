"""What a training recipe says of its step, for whoever lowers one without training."""

from typing import Any, NamedTuple

from pangu_jax import recipes
from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import Layout
from pangu_jax.recipes import Recipe
from pangu_jax.recipes.functions import TRAIN
from pangu_jax.training.optimizers import adamw, state_bytes


class StepRecipe(NamedTuple):
    """The parts of a train step, made; no data was read.

    Attributes:
      workload: what is trained.
      optimizer: its update.
      batch_size: examples per step, over all devices.
      layout: the recipe's own; None where it leaves that to the planner (`layout = "auto"`).
      optimizer_bytes: of the optimizer's state per parameter.
      compute_dtype, attention: as in a layout.
    """

    workload: Any
    optimizer: Any
    batch_size: int
    layout: Layout | None
    optimizer_bytes: float
    compute_dtype: str
    attention: str


def read(recipe: Recipe) -> StepRecipe:
    """Of a recipe of `train` that was found valid.

    Raises:
      UserError, DataError, BackendError: what the caller can fix, in one line.
    """
    import gin

    if recipe.function.selector != TRAIN:
        raise UserError(
            f"{recipe.where_missing()} is a recipe of {recipe.function.selector}: a train step is that of a "
            f"recipe of `pangu train`, such as nlp/quickstart.gin"
        )
    with recipes.plain_errors():
        recipes.apply(recipe)
        bound = gin.get_bindings(recipe.function.selector)
        workload, optimizer = bound["workload"], bound.get("optimizer") or adamw()
        per_parameter = state_bytes(optimizer, workload)
    layout = bound.get("layout")
    layout = layout if isinstance(layout, Layout) else None if layout == "auto" else Layout()
    own = layout or Layout()
    numbers = (own.compute_dtype, own.attention)
    return StepRecipe(workload, optimizer, bound["batch_size"], layout, per_parameter, *numbers)
