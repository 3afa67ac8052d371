"""Which macros and scopes a recipe uses."""

from collections.abc import Iterable, Iterator
from typing import Any

from pangu_jax.recipes.parsing import Binding
from pangu_jax.recipes.recipe import Key, Recipe
from pangu_jax.recipes.values import Macro, Reference


def leaves(value: Any) -> Iterator[Any]:
    """The values inside containers, or the value itself."""
    if isinstance(value, dict):
        for pair in value.items():
            yield from leaves(pair)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def macros(bindings: Iterable[Binding]) -> set[str]:
    """Names of the macros in some bindings' values."""
    return {leaf.name for binding in bindings for leaf in leaves(binding.value) if isinstance(leaf, Macro)}


def scopes(bindings: Iterable[Binding]) -> set[str]:
    """The scopes in which some bindings' references are called, enclosing ones too: a/b is within a."""
    used = set()
    for leaf in (leaf for binding in bindings for leaf in leaves(binding.value)):
        parts = leaf.scope.split("/") if isinstance(leaf, Reference) and leaf.scope else []
        used |= {"/".join(parts[: depth + 1]) for depth in range(len(parts))}
    return used


def in_effect(recipe: Recipe) -> dict[Key, Binding]:
    """The bindings that count, without macros and scopes that, after overriding, nothing uses any more."""
    kept = recipe.bindings()
    while True:
        used_macros, used_scopes = macros(kept.values()), scopes(kept.values())
        still = {
            key: binding
            for key, binding in kept.items()
            if (not key.scope or key.scope in used_scopes if key.parameter else key.selector in used_macros)
        }
        if len(still) == len(kept):
            return kept
        kept = still
