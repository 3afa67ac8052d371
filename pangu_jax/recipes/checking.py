"""`check`: everything wrong with a recipe, found without calling anything and before a device is touched."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.recipes.calls import circular, incomplete, leaves
from pangu_jax.recipes.findings import COMMAND_LINE, Finding, suggestion
from pangu_jax.recipes.fitting import describe, expected, fits
from pangu_jax.recipes.parsing import Binding
from pangu_jax.recipes.recipe import Key, Recipe
from pangu_jax.recipes.signatures import REQUIRED, is_constant, look_up
from pangu_jax.recipes.values import Macro, Reference

# Says, for a recipe whose single values are all right, which of them contradict each other: pairs of the
# name to mend ("Layout.model") and what is wrong. It must not touch a device.
Constraint = Callable[[Recipe], Iterable[tuple[str, str]]]

_constraints: list[Constraint] = []


def constraint(function: Constraint) -> Constraint:
    """Register a constraint: `check` asks it about every recipe once its module is imported."""
    _constraints.append(function)
    return function


def check(recipe: Recipe) -> list[Finding]:
    """All findings, in the order of files and lines; none when the recipe may run.

    Constraints are asked only when every value is right by itself.
    """
    findings = list(recipe.findings)
    if any("is not gin syntax" in finding.message for finding in findings):
        return findings  # half a file would be called full of unused and undefined names
    for part in (_duplicates, _macros, _scopes, _references, _types, circular, incomplete):
        findings += part(recipe)
    if not findings:
        for function in _constraints:
            findings += [Finding(recipe.where(name), f"{name}: {what}") for name, what in function(recipe)]
    order = {str(path): number for number, path in enumerate(recipe.files)}
    findings.sort(key=lambda finding: (order.get(finding.where.file, len(order)), finding.where.line or 0))
    return list(dict.fromkeys(findings))


def require_valid(recipe: Recipe) -> None:
    """UserError that lists the findings, a line each, when there are any."""
    findings = check(recipe)
    if findings:
        raise UserError("\n".join(map(str, findings)))


def _current(recipe: Recipe) -> Iterator[tuple[Key, Binding]]:
    for key, bindings in recipe.history.items():
        yield key, bindings[-1]


def _duplicates(recipe: Recipe) -> Iterator[Finding]:
    """A later file may override an earlier one; twice in one file is a slip that gin settles silently."""
    for key, bindings in recipe.history.items():
        lines: dict[str, Binding] = {}
        for binding in bindings:
            first = lines.setdefault(binding.where.file, binding)
            if first.where.line is not None and first.where != binding.where:
                yield Finding(
                    binding.where, f"{key} is already bound at line {first.where.line} of this file"
                )


def _macros(recipe: Recipe) -> Iterator[Finding]:
    defined = {key.selector for key in recipe.history if not key.parameter}
    # An overridden binding still counts as a use: `--gin.train.steps=5` must not make STEPS a mistake.
    ever = _macros_in(itertools.chain(*recipe.history.values(), recipe.unknown))
    now = _macros_in(itertools.chain((binding for _, binding in _current(recipe)), recipe.unknown))
    for key, binding in _current(recipe):
        for leaf in leaves(binding.value):
            if isinstance(leaf, Macro) and leaf.name not in defined and not is_constant(leaf.name):
                near = suggestion(leaf.name, defined)
                yield Finding(
                    binding.where, f"{key} = {binding.value!r}: macro {leaf.name} is not defined{near}"
                )
        if key.parameter:
            continue
        name = key.selector
        if any(
            isinstance(leaf, Macro) and leaf.name == name for leaf in leaves(recipe.expand(binding.value))
        ):
            yield Finding(binding.where, f"macro {name} is defined by itself")
        if name not in ever:
            near = suggestion(name, (ever - defined) or (defined - {name}))
            yield Finding(binding.where, f"macro {name} is never used{near}")
        elif name not in now and binding.where.file == COMMAND_LINE:
            yield Finding(
                binding.where, f"--gin.{name} has no effect: what used it is bound to something else"
            )


def _macros_in(bindings: Iterable[Binding]) -> set[str]:
    return {leaf.name for binding in bindings for leaf in leaves(binding.value) if isinstance(leaf, Macro)}


def _scopes(recipe: Recipe) -> Iterator[Finding]:
    """gin applies a binding in scope a/b while a reference @a/b/... is called: without one it is dead."""
    used = set()
    for _, binding in _current(recipe):
        for leaf in leaves(binding.value):
            if isinstance(leaf, Reference) and leaf.scope:
                parts = leaf.scope.split("/")
                used |= {"/".join(parts[: depth + 1]) for depth in range(len(parts))}
    for key, binding in _current(recipe):
        if key.parameter and key.scope and key.scope not in used:
            near = suggestion(key.scope, used)
            yield Finding(binding.where, f"{key}: no reference uses the scope '{key.scope}'{near}")


def _references(recipe: Recipe) -> Iterator[Finding]:
    for key, binding in _current(recipe):
        for leaf in leaves(binding.value):
            if isinstance(leaf, Reference):
                try:
                    look_up(leaf.selector)
                except LookupError as error:
                    yield Finding(binding.where, f"{key} = {leaf!r}: {error}")


def _types(recipe: Recipe) -> Iterator[Finding]:
    for key, binding in _current(recipe):
        value = recipe.expand(binding.value)
        if value is REQUIRED:
            yield Finding(binding.where, f"{key} must be given a value")
            continue
        wanted = expected(recipe.parameter(key))
        if key.parameter and not fits(value, wanted):
            yield Finding(
                binding.where,
                f"{key} = {binding.value!r}: {_mismatch(binding.value, value)}, not {describe(wanted)}",
            )


def _mismatch(written: Any, value: Any) -> str:
    if isinstance(value, Reference):
        return (
            f"that is what {value!r} gives"
            if value.evaluate
            else f"that is {value!r} itself (add () to call it)"
        )
    said = f"that is {value!r}, " if isinstance(written, Macro) else "that is "
    return f"{said}{type(value).__name__}"
