"""`explain` and `diff`: where a value came from, and in what two recipes differ."""

from dataclasses import dataclass
from typing import Any

from pangu_jax.recipes.recipe import Key, Recipe
from pangu_jax.recipes.signatures import EMPTY, REQUIRED, look_up
from pangu_jax.recipes.type_checks import describe, expected


@dataclass(frozen=True)
class Explanation:
    """All that is known of one name; values are gin syntax. `str()` is for a person, `vars()` for JSON."""

    name: str
    value: str
    written: str
    where: str
    overrode: tuple[str, ...]
    default: str
    type: str
    doc: str

    def __str__(self) -> str:
        via = f" (written {self.written})" if self.written not in ("", self.value) else ""
        lines = [f"{self.name} = {self.value}{via}", f"  from      {self.where}"]
        lines += [f"  overrode  {old}" for old in self.overrode]
        lines += [f"  default   {self.default}"] if self.default else []
        lines += [f"  type      {self.type}"] if self.type else []
        lines += [f"  {self.doc}"] if self.doc else []
        return "\n".join(lines)


def explain(recipe: Recipe, name: str) -> list[Explanation]:
    """What is known of `name`: a macro, a parameter, or every parameter of a configurable.

    UserError, with a suggestion, for a name that is none of these."""
    scope, _, selector = name.rpartition("/")
    is_macro = Key("", name, "") in recipe.history
    if not is_macro and name not in recipe.function.parameters:
        try:
            configurable = look_up(selector)
        except LookupError:
            configurable = None
        if configurable is not None:
            return [_explain(recipe, Key(scope, configurable.selector, p)) for p in configurable.parameters]
    return [_explain(recipe, recipe.key(name))]


def _explain(recipe: Recipe, key: Key) -> Explanation:
    parameter = recipe.parameter(key)
    binding = recipe.effective(key)
    default = "" if parameter.default is EMPTY else show(parameter.default)
    chain = next((b for b in recipe.history.values() if b[-1] is binding), [])
    value = parameter.default if binding is None else recipe.expand(binding.value)
    doc = ""
    if key.parameter:
        configurable = look_up(key.selector)
        summary = " ".join(configurable.doc.split("\n\n")[0].split())
        doc = configurable.parameter_doc(key.parameter) or (summary and f"{configurable.short}: {summary}")
    return Explanation(
        name=str(key),
        value=show(value),
        written="" if binding is None else show(binding.value),
        where="its default" if binding is None else str(binding.where),
        overrode=tuple(f"{old.value!r} from {old.where}" for old in reversed(chain[:-1])),
        default=default,
        type=describe(expected(parameter)) if key.parameter else "",
        doc=doc,
    )


def show(value: Any) -> str:
    """Gin syntax, with words for the two values that are not values."""
    return "(required)" if value is REQUIRED else "(not set)" if value is EMPTY else repr(value)


@dataclass(frozen=True)
class RecipeDifference:
    """One name on which two recipes differ: what it comes to in each, and where that is written."""

    name: str
    first: str
    second: str
    first_where: str
    second_where: str

    def __str__(self) -> str:
        return f"{self.name}: {self.first} ({self.first_where}) -> {self.second} ({self.second_where})"


def diff(first: Recipe, second: Recipe) -> list[RecipeDifference]:
    """The parameters that come to different values, sorted by name; macros count by what they do."""
    names = {key for recipe in (first, second) for key in recipe.history if key.parameter}
    differences = []
    for key in sorted(names, key=str):
        one, other = _explain(first, key), _explain(second, key)
        if one.value != other.value:
            differences.append(RecipeDifference(str(key), one.value, other.value, one.where, other.where))
    return differences
