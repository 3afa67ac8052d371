"""What only the whole recipe shows: whether its layout divides its model and its batch, and whether its
learning rate is for a run of this length."""

from collections.abc import Iterable, Iterator
from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout
from pangu_jax.recipes import Recipe, Reference
from pangu_jax.recipes.signatures import look_up
from pangu_jax.recipes.uses import leaves
from pangu_jax.training import schedules
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


def schedules_fit_the_run(recipe: Recipe) -> Iterable[tuple[str, str]]:
    """A constraint of recipes that train: schedules of ours that are shorter or longer than the run, or whose
    warm-up does not end in it."""
    arguments, run = recipe.arguments(recipe.function.selector), f"{recipe.function.short}.steps"
    steps = arguments.get("steps")
    if not isinstance(steps, int):
        return
    for schedule in _schedules(recipe, arguments.get("optimizer") or Reference("", "adamw", True)):
        given = recipe.arguments(schedule)
        name = f"{schedule.scope}/{schedule.selector}" if schedule.scope else schedule.selector
        length, warmup = given.get("steps", steps), given.get("warmup", 0)
        if length != steps:
            what = (
                f"its last {steps - length} steps would be at the lowest rate"
                if length < steps
                else "it would end before the rate has come down"
            )
            yield f"{name}.steps", f"{length}, and the run has {run} = {steps}: {what}; give both one number"
        if warmup and warmup >= min(length, steps):
            yield (
                f"{name}.warmup",
                f"{warmup}, and the run has {run} = {steps}: the peak would never be reached; "
                "warm-up must be shorter than the run",
            )


def _schedules(recipe: Recipe, value: Any, scope: str = "") -> Iterator[Reference]:
    """The schedules that a value makes use of; one without a scope is called in that of its caller."""
    for leaf in leaves(value):
        if isinstance(leaf, Reference):
            called = Reference(leaf.scope or scope, leaf.selector, leaf.evaluate)
            if look_up(leaf.selector).selector.startswith(f"{schedules.__name__}."):
                yield called
            else:
                yield from _schedules(recipe, recipe.arguments(called), called.scope)
