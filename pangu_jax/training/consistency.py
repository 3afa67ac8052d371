"""What only the whole recipe shows: whether its layout divides its model and its batch."""

from collections.abc import Iterable

from pangu_jax.errors import UserError
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout
from pangu_jax.recipes import Recipe, Reference
from pangu_jax.recipes.signatures import look_up
from tpu_npu_backends import processes, selection
from tpu_npu_backends.errors import BackendError


def layout_divides(recipe: Recipe) -> Iterable[tuple[str, str]]:
    """A constraint of recipes: names to change, and what is wrong with them. Touches no device."""
    arguments = recipe.arguments("train")
    try:
        devices = selection.promised_devices(arguments["backend"])
    except BackendError as error:
        return [("train.backend", str(error))]
    count = processes.expected_count()
    devices = devices * count if devices and count else None
    if arguments.get("layout") == "auto":
        return []  # the planner gives layouts that divide, or says why there are none
    reference = arguments.get("layout") or Reference("", "Layout", True)
    layout = Layout(**recipe.arguments(reference)) if isinstance(reference, Reference) else reference
    try:
        layout = layout.on(devices) if devices else layout
    except UserError as error:
        return [("Layout.data", str(error))]
    try:
        dimensions = _dimensions(recipe, arguments["workload"])
    except ValueError as error:
        return [("train.workload", str(error))]
    return layouts.check(layout, arguments["batch_size"], dimensions)


def _dimensions(recipe: Recipe, workload: object) -> dict[str, int]:
    if not isinstance(workload, Reference):
        return {}
    read = getattr(look_up(workload.selector).target, "recipe_dimensions", None)
    return read(recipe, workload) if read else {}
