"""What gin will call for a recipe: from the verb's function along evaluated references, scope by scope.

A reference `@a/f()` is called in scope a, and so is what its own bindings refer to without a scope.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pangu_jax.recipes.findings import RecipeFinding, Where
from pangu_jax.recipes.recipe import Key, Recipe
from pangu_jax.recipes.signatures import look_up
from pangu_jax.recipes.uses import leaves
from pangu_jax.recipes.values import Reference


class Call(NamedTuple):
    """A configurable by full selector, and the scope in which gin calls it."""

    scope: str
    selector: str


def called(recipe: Recipe) -> dict[Call, Where]:
    """What gin calls to fill parameters, each with the place that asks for it first."""
    found: dict[Call, Where] = {}
    todo = [callee for start in _starts(recipe) for callee in _callees(recipe, start)]
    while todo:
        call, where = todo.pop(0)
        if call not in found:
            found[call] = where
            todo += _callees(recipe, call)
    return found


def incomplete(recipe: Recipe) -> Iterator[RecipeFinding]:
    """Of whatever gin calls by itself: parameters without a default that nothing binds, and methods that a
    class should have and has not."""
    root = Call("", recipe.function.selector)
    yield from _missing(recipe, root, recipe.where_missing(), recipe.supplied)
    for call, where in called(recipe).items():
        yield from _missing(recipe, call, where)
        yield from _abstract(call, where)


def _abstract(call: Call, where: Where) -> Iterator[RecipeFinding]:
    """A class that leaves out what its base asks for: Python would say so when it is made, in a traceback."""
    configurable = look_up(call.selector)
    target: Any = configurable.target
    absent = sorted(getattr(target, "__abstractmethods__", ()))
    if absent:
        base = next(base for base in target.__mro__[::-1] if absent[0] in vars(base))
        methods = "method" if len(absent) == 1 else "methods"
        message = f"{configurable.short} lacks the {methods} {', '.join(absent)} of {base.__name__}"
        yield RecipeFinding(where, f"{message}; its docstrings say what each gives")


def circular(recipe: Recipe) -> Iterator[RecipeFinding]:
    """References that come back to themselves: gin would call without end."""
    finished: set[Call] = set()

    def visit(call: Call, path: tuple[Call, ...]) -> Iterator[RecipeFinding]:
        for callee, where in _callees(recipe, call):
            if callee in (*path, call):
                yield RecipeFinding(
                    where, f"@{look_up(callee.selector).short}() is called within itself, without end"
                )
            elif callee not in finished:
                yield from visit(callee, (*path, call))
        finished.add(call)

    for start in _starts(recipe):
        if start not in finished:
            yield from visit(start, ())


def _starts(recipe: Recipe) -> list[Call]:
    """The verb's function, and whatever the recipe binds: our code calls some configurables by itself."""
    bound = [Call(key.scope, key.selector) for key in recipe.history if key.parameter]
    return list(dict.fromkeys([Call("", recipe.function.selector), *bound]))


def _callees(recipe: Recipe, call: Call) -> Iterator[tuple[Call, Where]]:
    """What gin calls to fill the parameters of `call`, with the place that says so."""
    for name in recipe.bound_parameters(call.selector):
        binding = recipe.effective(Key(call.scope, call.selector, name))
        if binding is None:
            continue
        for leaf in leaves(recipe.expand(binding.value)):
            if isinstance(leaf, Reference) and leaf.evaluate and recipe.knows(leaf):
                yield Call(leaf.scope or call.scope, look_up(leaf.selector).selector), binding.where


def _missing(
    recipe: Recipe, call: Call, where: Where, supplied: frozenset[str] = frozenset()
) -> Iterator[RecipeFinding]:
    for name, parameter in look_up(call.selector).parameters.items():
        key = Key(call.scope, call.selector, name)
        if parameter.required and name not in supplied and recipe.effective(key) is None:
            yield RecipeFinding(where, f"{key} has no default and is not bound")
