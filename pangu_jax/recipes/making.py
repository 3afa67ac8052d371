"""`make`: what a value of a recipe comes to, with gin's own configuration neither read nor changed."""

import functools
from typing import Any

from pangu_jax.recipes.recipe import Recipe
from pangu_jax.recipes.signatures import look_up
from pangu_jax.recipes.values import Reference


def make(recipe: Recipe, value: Any, scope: str = "") -> Any:
    """`value` with its references replaced: `@f()` by what the call gives, `@f` by f with its arguments.

    So a verb that runs by one recipe makes objects of another, such as the workload of the run it opens.

    Args:
      recipe: where the arguments of what is called are looked up.
      value: a value of it, macros replaced; nested references are found in lists, tuples and dicts.
      scope: of references without one of their own.

    Raises:
      UserError: a reference to what nothing has registered.
      TypeError, ValueError: an argument is missing or makes no sense, as the callable says it.
    """
    if isinstance(value, list | tuple):
        return type(value)(make(recipe, item, scope) for item in value)
    if isinstance(value, dict):
        return {make(recipe, key, scope): make(recipe, item, scope) for key, item in value.items()}
    if not isinstance(value, Reference):
        return value
    within = Reference(value.scope or scope, value.selector, value.evaluate)
    arguments = recipe.arguments(within)
    target = look_up(within.selector).target
    made = {name: make(recipe, argument, within.scope) for name, argument in arguments.items()}
    return target(**made) if within.evaluate else functools.partial(target, **made)
