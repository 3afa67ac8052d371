"""A recipe in memory: every binding with its place and everything it overrode."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pangu_jax.errors import UserError, suggestion
from pangu_jax.recipes.findings import COMMAND_LINE, RecipeFinding, Where
from pangu_jax.recipes.parsing import Binding, Import
from pangu_jax.recipes.signatures import EMPTY, Configurable, Parameter, constant, is_constant, look_up
from pangu_jax.recipes.values import Macro, Reference


class Key(NamedTuple):
    """What a binding sets: a parameter of a configurable (by full selector) within a scope, or a macro.

    A macro has its name in `selector` and "" in `parameter`.
    """

    scope: str
    selector: str
    parameter: str

    def __str__(self) -> str:
        name = look_up(self.selector).short + f".{self.parameter}" if self.parameter else self.selector
        return f"{self.scope}/{name}" if self.scope else name


@dataclass
class Recipe:
    """What some gin files and command-line bindings say together. Made by `load`.

    `history` holds for each key all its bindings, oldest first: the last one counts. `findings` are
    those met while reading; `check` gives them all. `function` is the configurable that the verb calls,
    and `supplied` its parameters that the program passes itself. `unknown` are bindings of names that
    nothing has.
    """

    files: list[Path]
    function: Configurable
    supplied: frozenset[str]
    imports: list[Import] = field(default_factory=list)
    history: dict[Key, list[Binding]] = field(default_factory=dict)
    findings: list[RecipeFinding] = field(default_factory=list)
    unknown: list[Binding] = field(default_factory=list)

    def binding(self, key: Key) -> Binding | None:
        """The binding that counts for `key`, or None."""
        return self.history[key][-1] if key in self.history else None

    def bindings(self) -> dict[Key, Binding]:
        """The binding that counts, of every key that has one."""
        return {key: bindings[-1] for key, bindings in self.history.items()}

    def key(self, name: str) -> Key:
        """The key a person means by `name`: a macro, `[scope/]configurable.parameter`, or a parameter of the
        verb's function. UserError, with a suggestion, when it is none of these."""
        scope, _, rest = name.rpartition("/")
        selector, _, parameter = rest.rpartition(".")
        if Key("", name, "") in self.history:
            return Key("", name, "")
        if not selector:
            if rest in self.function.parameters:
                return Key(scope, self.function.selector, rest)
            macros = [key.selector for key in self.history if not key.parameter]
            near = suggestion(name, [*macros, *self.function.parameters])
            raise UserError(f"no macro, and no parameter of {self.function.short}, is named '{name}'{near}")
        try:
            configurable = look_up(selector)
        except LookupError as error:
            raise UserError(str(error)) from None
        if parameter not in configurable.parameters and not _swallows(configurable, parameter):
            near = suggestion(parameter, configurable.parameters)
            raise UserError(f"{configurable.short} has no parameter '{parameter}'{near}")
        return Key(scope, configurable.selector, parameter)

    def parameter(self, key: Key) -> Parameter:
        """The signature's entry for a key. A macro, or a name that **kwargs takes, has but its name."""
        found = look_up(key.selector).parameters.get(key.parameter) if key.parameter else None
        return found or Parameter(key.parameter, EMPTY, EMPTY)

    def expand(self, value: Any) -> Any:
        """`value` with macros and constants replaced, nested ones too. Unknown and circular macros stay."""
        return self._expand(value, ())

    def _expand(self, value: Any, within: tuple[str, ...]) -> Any:
        if isinstance(value, Macro):
            binding = self.binding(Key("", value.name, ""))
            if binding is not None and value.name not in within:
                return self._expand(binding.value, (*within, value.name))
            return constant(value.name) if binding is None and is_constant(value.name) else value
        if isinstance(value, list | tuple):
            return type(value)(self._expand(item, within) for item in value)
        if isinstance(value, dict):
            return {self._expand(k, within): self._expand(v, within) for k, v in value.items()}
        return value

    def value(self, name: str) -> Any:
        """What `name` comes to: its binding with macros replaced, else the default (EMPTY without one).

        References stay references: nothing is called."""
        key = self.key(name)
        binding = self.effective(key)
        return self.parameter(key).default if binding is None else self.expand(binding.value)

    def effective(self, key: Key) -> Binding | None:
        """The binding gin would use within the key's scope: the innermost enclosing scope that has one."""
        scopes = key.scope.split("/") if key.scope else []
        for depth in range(len(scopes), -1, -1):
            binding = self.binding(key._replace(scope="/".join(scopes[:depth])))
            if binding is not None:
                return binding
        return None

    def arguments(self, configurable: str | Reference) -> dict[str, Any]:
        """All parameters of a configurable with a value: bound ones expanded, the others by default.

        Given a reference, its scope counts. UserError when there is no such configurable."""
        if isinstance(configurable, str):
            configurable = Reference("", configurable, evaluate=True)
        try:
            found = look_up(configurable.selector)
        except LookupError as error:
            raise UserError(str(error)) from None
        values = {}
        for name in {**found.parameters, **dict.fromkeys(self.bound_parameters(found.selector))}:
            binding = self.effective(Key(configurable.scope, found.selector, name))
            parameter = found.parameters.get(name)
            if binding is not None:
                values[name] = self.expand(binding.value)
            elif parameter is not None and not parameter.required:
                values[name] = parameter.default
        return values

    def bound_parameters(self, selector: str) -> list[str]:
        """The parameters of a configurable (by full selector) that the recipe binds in any scope, sorted."""
        return sorted({key.parameter for key in self.history if key.parameter and key.selector == selector})

    def knows(self, reference: Reference) -> bool:
        """Whether the reference names one configurable."""
        try:
            return bool(look_up(reference.selector))
        except LookupError:
            return False

    def where(self, name: str) -> Where:
        """The place to change `name`: where it is bound, else the recipe's last file."""
        binding = self.effective(self.key(name))
        return binding.where if binding else self.where_missing()

    def where_missing(self) -> Where:
        """The place to bind what is not bound: the last file, or the command line when there is none."""
        return Where(str(self.files[-1])) if self.files else Where(COMMAND_LINE)


def _swallows(configurable: Configurable, parameter: str) -> bool:
    """Whether **kwargs takes this name; not when a named parameter is so near that it will be a slip."""
    return configurable.extra and not suggestion(parameter, configurable.parameters, cutoff=0.8)
