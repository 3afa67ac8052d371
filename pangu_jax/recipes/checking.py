"""`check`: everything wrong with a recipe, found without calling anything and before a device is touched."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from pangu_jax.errors import UserError, suggestion
from pangu_jax.recipes.calls import circular, incomplete
from pangu_jax.recipes.findings import COMMAND_LINE, RecipeFinding
from pangu_jax.recipes.parsing import Binding
from pangu_jax.recipes.recipe import Key, Recipe
from pangu_jax.recipes.signatures import REQUIRED, is_constant, look_up
from pangu_jax.recipes.type_checks import describe, expected, fits
from pangu_jax.recipes.uses import leaves, macros, scopes
from pangu_jax.recipes.values import Macro, Reference

# Says, for a recipe whose single values are all right, which of them contradict each other: pairs of the
# name to change ("Layout.model") and what is wrong. It must not touch a device.
Constraint = Callable[[Recipe], Iterable[tuple[str, str]]]


class _Registered(NamedTuple):
    rule: Constraint
    of: str | None
    stops: bool


_constraints: list[_Registered] = []


def constraint(rule: Constraint, *, of: str | None = None, stops: bool = True) -> Constraint:
    """Register a rule that `check` asks once the module that registers it is imported.

    `of` is the full name of a verb's function ("pangu_jax.training.train.train"), and the rule is asked about
    that verb's recipes only; without it, about all. Where a rule does not stop a verb, what breaks it is a
    warning: a short trial of what is meant for longer is run all the same.
    """
    _constraints.append(_Registered(rule, of, stops))
    return rule


def check(recipe: Recipe) -> list[RecipeFinding]:
    """All findings, by file and line; none when the recipe may run.

    Constraints are asked only when every value is right by itself.
    """
    findings = list(recipe.findings)
    if any(finding.unread for finding in findings):
        return findings  # half a file would be called full of unused and undefined names
    for part in (_supplied, _duplicates, _macros, _scopes, _references, _types, circular, incomplete):
        findings += part(recipe)
    if not findings:
        asked = [one for one in _constraints if one.of in (None, recipe.function.selector)]
        findings = [
            RecipeFinding(recipe.where(name), f"{name}: {what}", stops=one.stops)
            for one in asked
            for name, what in one.rule(recipe)
        ]
    order = {str(path): number for number, path in enumerate(recipe.files)}
    findings.sort(
        key=lambda one: (order.get(one.where.file, len(order)), one.where.file, one.where.line or 0)
    )
    return list(dict.fromkeys(findings))


def check_values(recipe: Recipe) -> list[RecipeFinding]:
    """Findings about names and single values, not about the whole: of a recipe that is not to be run."""
    return [*recipe.findings, *_types(recipe)]


def require_valid(recipe: Recipe) -> list[RecipeFinding]:
    """The findings that stop no verb; UserError that lists all, a line each, when there are others."""
    findings = check(recipe)
    if any(finding.stops for finding in findings):
        raise UserError("\n".join(map(str, findings)))
    return findings


def _current(recipe: Recipe) -> Iterator[tuple[Key, Binding]]:
    for key, bindings in recipe.history.items():
        yield key, bindings[-1]


def _all(recipe: Recipe) -> Iterator[Binding]:
    """Overridden bindings too: after `--gin.train.steps=5` the macro it replaced is no mistake."""
    return chain(*recipe.history.values(), recipe.unknown)


def _supplied(recipe: Recipe) -> Iterator[RecipeFinding]:
    """Python's argument would win over gin's binding, without a word."""
    for key, binding in _current(recipe):
        if key.selector == recipe.function.selector and key.parameter in recipe.supplied:
            yield RecipeFinding(binding.where, f"{key} is set by the program, not by a recipe")


def _duplicates(recipe: Recipe) -> Iterator[RecipeFinding]:
    """A later file may override an earlier one; twice in one file is a slip that gin settles silently."""
    for key, bindings in recipe.history.items():
        firsts: dict[str, Binding] = {}
        for binding in bindings:
            first = firsts.setdefault(binding.where.file, binding)
            if first.where != binding.where:
                message = f"{key} is already bound at line {first.where.line} of this file"
                yield RecipeFinding(binding.where, message)


def _macros(recipe: Recipe) -> Iterator[RecipeFinding]:
    defined = {key.selector for key in recipe.history if not key.parameter}
    ever = macros(_all(recipe))
    now = macros(chain((binding for _, binding in _current(recipe)), recipe.unknown))
    for key, binding in _current(recipe):
        for name in sorted(macros([binding]) - defined):
            if not is_constant(name):
                near = suggestion(name, defined)
                yield RecipeFinding(
                    binding.where, f"{key} = {binding.value!r}: macro {name} is not defined{near}"
                )
        if key.parameter:
            continue
        name = key.selector
        if any(leaf in map(Macro, defined) for leaf in leaves(recipe.expand(binding.value))):
            yield RecipeFinding(binding.where, f"macro {name} is defined by itself")
        if name not in ever:
            near = suggestion(name, (ever - defined) or (defined - {name}))
            yield RecipeFinding(binding.where, f"macro {name} is never used{near}")
        elif name not in now and binding.where.file == COMMAND_LINE:
            message = f"--gin.{name} has no effect: what used it is bound to something else"
            yield RecipeFinding(binding.where, message)


def _scopes(recipe: Recipe) -> Iterator[RecipeFinding]:
    """gin applies a binding in scope a/b while a reference @a/b/... is called: without one it is dead."""
    used = scopes(_all(recipe))
    for key, binding in _current(recipe):
        if key.parameter and key.scope and key.scope not in used:
            near = suggestion(key.scope, used)
            yield RecipeFinding(binding.where, f"{key}: no reference uses the scope '{key.scope}'{near}")


def _references(recipe: Recipe) -> Iterator[RecipeFinding]:
    for key, binding in _current(recipe):
        for leaf in leaves(binding.value):
            if isinstance(leaf, Reference):
                try:
                    look_up(leaf.selector)
                except LookupError as error:
                    yield RecipeFinding(binding.where, f"{key} = {leaf!r}: {error}")


def _types(recipe: Recipe) -> Iterator[RecipeFinding]:
    for key, binding in _current(recipe):
        value = recipe.expand(binding.value)
        wanted = expected(recipe.parameter(key))
        if value is REQUIRED:
            yield RecipeFinding(binding.where, f"{key} must be given a value")
        elif key.parameter and not fits(value, wanted):
            message = (
                f"{key} = {binding.value!r}: that is {_kind(binding.value, value)}, not {describe(wanted)}"
            )
            yield RecipeFinding(binding.where, message)


def _kind(written: Any, value: Any) -> str:
    if isinstance(value, Reference):
        return f"what {value!r} gives" if value.evaluate else f"{value!r} itself (add () to call it)"
    return ("" if written == value else f"{value!r}, ") + type(value).__name__
