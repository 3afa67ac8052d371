"""The resolved form of a recipe: one gin file, no includes, a line a binding, in an order that never varies.

Macros stay macros, so a replay can be overridden by the same names; what they come to stands behind them in
a comment. Parameters left at their default are listed as comments: a changed default then shows in a diff.
"""

from typing import Any

from pangu_jax.recipes.recipe import Key, Recipe
from pangu_jax.recipes.signatures import look_up
from pangu_jax.recipes.uses import in_effect
from pangu_jax.recipes.values import parse_value


def dump(recipe: Recipe) -> str:
    """Gin text. Loading it gives the same imports and the same value for every key that has an effect."""
    lines = sorted({statement.statement for statement in recipe.imports})
    bindings = in_effect(recipe)
    lines += _section(_line(recipe, key) for key in sorted(bindings) if not key.parameter)
    keys = [key for key in bindings if key.parameter]
    for scope, selector in sorted({(key.scope, key.selector) for key in keys}, key=lambda pair: pair[::-1]):
        bound = sorted(key for key in keys if (key.scope, key.selector) == (scope, selector))
        lines += _section(_line(recipe, key) for key in bound)
        if not scope:
            lines += _defaults(selector, {key.parameter for key in bound})
    return "\n".join(lines).strip("\n") + "\n"


def _section(lines: Any) -> list[str]:
    lines = list(lines)
    return ["", *lines] if lines else []


def _line(recipe: Recipe, key: Key) -> str:
    value = recipe.binding(key).value
    expanded = recipe.expand(value)
    comment = f"  # {expanded!r}" if repr(expanded) != repr(value) and _is_gin(expanded) else ""
    return f"{key} = {value!r}{comment}"


def _defaults(selector: str, bound: set[str]) -> list[str]:
    parameters = look_up(selector).parameters.values()
    return [
        f"# default: {Key('', selector, parameter.name)} = {parameter.default!r}"
        for parameter in parameters
        if parameter.name not in bound and not parameter.required and _is_gin(parameter.default)
    ]


def _is_gin(value: Any) -> bool:
    """Only what gin could read is shown: the repr of other objects holds addresses that change every run."""
    try:
        return parse_value(repr(value)) == value
    except ValueError:
        return False
