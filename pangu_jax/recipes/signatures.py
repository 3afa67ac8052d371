"""What gin knows of the configurables: names, parameters, annotations, defaults and documentation.

gin keeps its registry private and offers no public way to list it; this file is the one place that looks.
The dependency is pinned to gin-config 0.5, whose authors call it finished.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gin
from gin import config as gin_config

from pangu_jax.errors import suggestion
from pangu_jax.recipes import renamed

EMPTY = inspect.Parameter.empty
REQUIRED = gin.REQUIRED


@dataclass(frozen=True)
class Parameter:
    """A parameter that a recipe can set. `annotation` and `default` are EMPTY where the source has none."""

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is EMPTY or self.default is REQUIRED


@dataclass(frozen=True)
class Configurable:
    """A function or class registered with gin.

    `selector` is its full name, `short` the shortest unambiguous one; `extra` says it takes **kwargs;
    `produces` is the type of a call's result (EMPTY when unknown).
    """

    selector: str
    short: str
    target: Callable
    parameters: dict[str, Parameter]
    extra: bool
    produces: Any

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.target) or ""

    def parameter_doc(self, name: str) -> str:
        """The text a Google-style docstring gives a parameter, or "" when it has none."""
        match = re.search(rf"^( +){name}(?: \([^)]*\))?: (.*(?:\n\1 +.*)*)", self.doc, re.MULTILINE)
        return " ".join(match.group(2).split()) if match else ""


def names() -> list[str]:
    """The shortest unambiguous names of all configurables, gin's own apart."""
    registry = gin_config._REGISTRY
    return [registry.minimal_selector(full) for full, _ in registry.items() if not full.startswith("gin.")]


def look_up(selector: str) -> Configurable:
    """The configurable a recipe means by `selector`, also by a name it had in an older version.

    LookupError, with a suggestion, when not exactly one.
    """
    registry = gin_config._REGISTRY
    matches = _matches(selector)
    if len(matches) > 1:
        raise LookupError(f"'{selector}' may be any of {', '.join(sorted(matches))}: write more of its name")
    if not matches:
        near = suggestion(selector, names())
        raise LookupError(f"no configurable '{selector}'{near or ' (is its module imported?)'}")
    return _describe(registry[matches[0]], registry.minimal_selector(matches[0]))


def present_selector(selector: str) -> str:
    """`selector` as gin knows it: the whole name where it is one of an older version, else as it is."""
    if gin_config._REGISTRY.matching_selectors(selector) or len(matches := _matches(selector)) != 1:
        return selector
    return matches[0]


def _matches(selector: str) -> list[str]:
    registry = gin_config._REGISTRY
    matches = registry.matching_selectors(selector)
    return matches or renamed.matching(selector, (full for full, _ in registry.items()))


def registered(function: Callable) -> Configurable:
    """The entry of a function or class that gin knows. LookupError when it was never registered."""
    found = gin_config._inverse_lookup(function, allow_decorators=True)
    if found is None:
        raise LookupError(f"{function!r} is not registered with gin")
    return look_up(found.selector)


def is_constant(name: str) -> bool:
    """Whether `%name` is a constant made in Python by gin.constant, rather than a macro of the recipe."""
    return bool(gin_config._CONSTANTS.matching_selectors(name))


def constant(name: str) -> Any:
    """The value of a gin.constant."""
    return gin_config._CONSTANTS.get_match(name)


def _describe(registered: gin_config.Configurable, short: str) -> Configurable:
    target = registered.wrapped
    is_class = inspect.isclass(target)
    function = gin_config._find_class_construction_fn(target) if is_class else target
    signature = _signature(function)
    parameters = list(signature.parameters.values())[1 if is_class else 0 :]
    kinds = inspect.Parameter
    settable = {
        parameter.name: Parameter(parameter.name, parameter.annotation, parameter.default)
        for parameter in parameters
        if parameter.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
        and parameter.name not in (registered.denylist or ())
        and (not registered.allowlist or parameter.name in registered.allowlist)
    }
    extra = any(parameter.kind is kinds.VAR_KEYWORD for parameter in parameters)
    produces = target if is_class else signature.return_annotation
    return Configurable(registered.selector, short, target, settable, extra, produces)


def _signature(function: Callable) -> inspect.Signature:
    """With annotations evaluated if they can be: one unknown name must not cost us all the others."""
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, AttributeError, TypeError, SyntaxError):
        signature = inspect.signature(function)
    names = getattr(inspect.unwrap(function), "__globals__", {})
    parameters = [p.replace(annotation=_known(p.annotation, names)) for p in signature.parameters.values()]
    return signature.replace(
        parameters=parameters, return_annotation=_known(signature.return_annotation, names)
    )


def _known(annotation: Any, names: dict[str, Any]) -> Any:
    """A string annotation is looked up if it is one plain name, and otherwise given up as unknown."""
    return names.get(annotation, EMPTY) if isinstance(annotation, str) else annotation
