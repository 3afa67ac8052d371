"""`load`: from files and command-line bindings to a Recipe. `apply`: from a Recipe to gin."""

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gin

from pangu_jax.errors import UserError, suggestion
from pangu_jax.recipes import functions
from pangu_jax.recipes.dumping import dump
from pangu_jax.recipes.files import find
from pangu_jax.recipes.findings import COMMAND_LINE, RecipeFinding, Where
from pangu_jax.recipes.parsing import Binding, Import, read
from pangu_jax.recipes.recipe import Key, Recipe
from pangu_jax.recipes.signatures import Configurable, present_selector, registered
from pangu_jax.recipes.type_checks import expected, fits
from pangu_jax.recipes.values import Reference, parse_flag_value


def load(
    files: Sequence[str | Path],
    bindings: Iterable[str] = (),
    *,
    function: str | Callable | None = None,
    supplied: Iterable[str] | None = None,
) -> Recipe:
    """Read recipes and the command line's bindings, later ones winning, and import the modules they name.

    Args:
      files: paths or names, see `find`; UserError for an unknown one.
      bindings: "NAME=VALUE" each, as after `--gin.`. A NAME without a dot is a macro of the recipe if it
        has one of that name, else a parameter of the verb's function. VALUE as in `parse_flag_value`, save
        that a number given to a parameter that takes strings and not that number stays the text typed.
      function: the configurable the verb calls: itself, or its full name `package.module.function`, which is
        imported. None: the one that these recipes are for, see `functions.wanted`.
      supplied: the parameters of that function which the program passes itself and a recipe must not set;
        None: as `functions.supplied` says.

    What is wrong inside the files is not raised but kept, for `check` to report all of it at once.
    """
    paths = [find(name) for name in files]
    statements = [statement for path in paths for statement in read(path)]
    if function is None:
        function = functions.wanted(one.module for one in statements if isinstance(one, Import))
    called = _verb_function(function)
    if supplied is None:
        supplied = functions.supplied(called.selector)
    recipe = Recipe(paths, called, frozenset(supplied))
    for statement in statements:  # imports first: gin would want them above the bindings, we need not
        if isinstance(statement, Import):
            _import(recipe, statement)
    for statement in statements:
        if isinstance(statement, RecipeFinding):
            recipe.findings.append(statement)
        elif isinstance(statement, Binding):
            _bind(recipe, statement)
    for text in bindings:
        _bind_flag(recipe, text)
    return recipe


def imported(files: Iterable[str | Path]) -> list[str]:
    """The modules that recipes import, none of which is imported for it: they say what a recipe is for.

    Raises:
      UserError: there is no such recipe.
    """
    return [one.module for name in files for one in read(find(name)) if isinstance(one, Import)]


def _verb_function(function: str | Callable) -> Configurable:
    if isinstance(function, str):
        module, _, name = function.rpartition(".")
        function = getattr(importlib.import_module(module), name)
    return registered(function)


def _import(recipe: Recipe, statement: Import) -> None:
    if statement.module.startswith("__gin__."):
        message = (
            "gin's dynamic registration is not supported: import modules that register their configurables"
        )
        recipe.findings.append(RecipeFinding(statement.where, message))
        return
    try:
        importlib.import_module(statement.module)
    except ImportError as error:
        near = _near_module(error) if isinstance(error, ModuleNotFoundError) else ""
        recipe.findings.append(RecipeFinding(statement.where, f"{statement.statement}: {error}{near}"))
    else:
        recipe.imports.append(statement)


def _near_module(error: ModuleNotFoundError) -> str:
    """A suggestion among the neighbours of the missing module, which need not be the one asked for."""
    parent, _, name = (error.name or "").rpartition(".")
    if not parent:
        return " (is its folder on PYTHONPATH?)"
    folders = getattr(sys.modules.get(parent), "__path__", [])
    return suggestion(name, (module.name for module in pkgutil.iter_modules(folders)))


def _bind(recipe: Recipe, binding: Binding) -> None:
    try:
        key = recipe.key(binding.name) if binding.parameter else Key("", binding.name, "")
    except UserError as error:
        recipe.findings.append(RecipeFinding(binding.where, f"{binding.name}: {error}"))
        recipe.unknown.append(binding)
        return
    recipe.history.setdefault(key, []).append(replace(binding, value=_present(binding.value)))


def _present(value: Any) -> Any:
    """`value` with its references by the names of today: it is dumped, and gin reads the dump."""
    if isinstance(value, Reference):
        return replace(value, selector=present_selector(value.selector))
    if isinstance(value, list | tuple):
        return type(value)(map(_present, value))
    if isinstance(value, dict):
        return {_present(key): _present(item) for key, item in value.items()}
    return value


def _bind_flag(recipe: Recipe, text: str) -> None:
    name, equals, written = text.partition("=")
    where = Where(COMMAND_LINE)
    try:
        if not equals or not re.fullmatch(r"[A-Za-z_][\w./]*", name.strip()):
            raise ValueError("write --gin.NAME=VALUE")
        key = recipe.key(name.strip())
        value = parse_flag_value(written)
    except (UserError, ValueError) as error:
        recipe.findings.append(RecipeFinding(where, f"--gin.{text}: {error}"))
        return
    wanted = expected(recipe.parameter(key))
    if type(value) in (int, float) and not fits(value, wanted) and fits(written.strip(), wanted):
        value = written.strip()
    binding = Binding(key.scope, key.selector, key.parameter, _present(value), where)
    recipe.history.setdefault(key, []).append(binding)


def apply(recipe: Recipe) -> None:
    """Make this recipe, and nothing else, gin's global configuration."""
    gin.clear_config()
    gin.parse_config(dump(recipe))
