"""The resolved form of a recipe: one gin file, no includes, a line per binding, in a fixed order.

Macros stay macros, so a replay can be overridden by the same names; what they come to follows them in
a comment. Parameters left at their default are listed as comments: a changed default then shows in a diff.
"""

import re
from typing import Any

from pangu_jax.recipes.calls import called
from pangu_jax.recipes.recipe import Key, Recipe
from pangu_jax.recipes.signatures import look_up
from pangu_jax.recipes.uses import in_effect
from pangu_jax.recipes.values import parse_value


def dump(recipe: Recipe) -> str:
    """Gin text. Loading it gives the same imports and the same value for every key that has an effect."""
    lines = sorted({statement.statement for statement in recipe.imports})
    bindings = in_effect(recipe)
    lines += _section(_line(recipe, key) for key in sorted(bindings) if not key.parameter)
    parameters = sorted(key for key in bindings if key.parameter)
    configurables = {(key.selector, key.scope) for key in parameters}
    for selector, scope in sorted(configurables | {(call.selector, "") for call in called(recipe)}):
        bound = [key for key in parameters if (key.selector, key.scope) == (selector, scope)]
        set_otherwise = {key.parameter for key in bound}
        if selector == recipe.function.selector:
            set_otherwise |= recipe.supplied
        defaults = [] if scope else _defaults(selector, set_otherwise)
        lines += _section([*(_line(recipe, key) for key in bound), *defaults])
    return "\n".join(lines).strip("\n") + "\n"


_LINE = re.compile(
    r"(?P<default># default: )?(?P<name>[\w./]+\.\w+) = (?P<written>.*?)(?:  # (?P<expanded>.*))?"
)


def changes(before: str, after: str) -> list[str]:
    """In what parameters two resolved recipes differ, such as "train.steps 20 -> 30".

    Told from their text: that of an older run may name modules that are no more. Defaults count; what only
    one of them lists as a default is a parameter that the library did not, or does not, have.
    """
    old, new = _values(before), _values(after)
    nothing = "not set", True
    found = []
    for name in sorted(old | new):
        (was, was_default), (now, now_default) = old.get(name, nothing), new.get(name, nothing)
        if was != now and ((name in old and name in new) or not (was_default and now_default)):
            found.append(f"{name} {was} -> {now}")
    return found


def value_in(text: str, name: str) -> str | None:
    """What a parameter such as "train.steps" is in a resolved recipe, as text; None if it is not there."""
    value, _ = _values(text).get(name, (None, True))
    return value


def _values(text: str) -> dict[str, tuple[str, bool]]:
    """Parameter -> (value, whether by default)."""
    lines = [found for line in text.splitlines() if (found := _LINE.fullmatch(line))]
    return {line["name"]: (line["expanded"] or line["written"], bool(line["default"])) for line in lines}


def _section(lines: Any) -> list[str]:
    lines = list(lines)
    return ["", *lines] if lines else []


def _line(recipe: Recipe, key: Key) -> str:
    value = recipe.bindings()[key].value
    expanded = recipe.expand(value)
    comment = f"  # {expanded!r}" if repr(expanded) != repr(value) and _is_gin(expanded) else ""
    return f"{key} = {value!r}{comment}"


def _defaults(selector: str, set_otherwise: set[str]) -> list[str]:
    parameters = look_up(selector).parameters.values()
    return [
        f"# default: {Key('', selector, parameter.name)} = {parameter.default!r}"
        for parameter in parameters
        if parameter.name not in set_otherwise and not parameter.required and _is_gin(parameter.default)
    ]


def _is_gin(value: Any) -> bool:
    """Only what gin could read is shown: the repr of other objects holds addresses that change every run."""
    try:
        return parse_value(repr(value)) == value
    except ValueError:
        return False
