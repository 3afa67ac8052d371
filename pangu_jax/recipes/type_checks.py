"""Does a value fit a parameter's annotation (or, where there is none, its default)?

Lenient where nothing can be known without running code, strict where it can: the aim is to stop
`train.steps = "ten"`, not to be a type checker.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pangu_jax.recipes.signatures import EMPTY, Parameter, look_up
from pangu_jax.recipes.values import Macro, Reference

_PLAIN = (bool, int, float, str, tuple, list, dict)


def expected(parameter: Parameter) -> Any:
    """The annotation, or what a plain default gives away, or Any. A default of None says None is fine too."""
    annotation, default = parameter.annotation, parameter.default
    if annotation is EMPTY:
        return type(default) | None if type(default) in _PLAIN else Any
    return annotation | None if default is None and inspect.isclass(annotation) else annotation


def describe(annotation: Any) -> str:
    """An annotation as a person would write it: `int | None`, `one of 'gpipe', '1f1b'`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin in (typing.Union, types.UnionType):
        return " | ".join(describe(argument) for argument in arguments)
    if annotation is type(None):
        return "None"
    if inspect.isclass(annotation) and origin is None:
        return annotation.__name__
    return "anything" if annotation in (Any, EMPTY) else str(annotation).replace("typing.", "")


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value of a recipe, macros already replaced, may be given where `annotation` is asked for."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (Any, EMPTY, object) or isinstance(annotation, str | typing.TypeVar):
        return True
    if isinstance(value, Macro):  # an undefined macro is a finding of its own
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is typing.Annotated:
        return fits(value, arguments[0])
    if isinstance(annotation, typing.NewType):
        return fits(value, annotation.__supertype__)
    if isinstance(value, Reference):
        return _reference_fits(value, annotation)
    if origin is typing.Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if annotation is None:
        return value is None
    if origin is not None:
        return _generic_fits(value, origin, arguments)
    return _class_fits(value, annotation)


def _class_fits(value: Any, annotation: Any) -> bool:
    if annotation is Callable:
        return False
    if not inspect.isclass(annotation):
        return True
    if getattr(annotation, "_is_protocol", False):  # a literal has no methods of ours
        return not isinstance(value, (*_PLAIN, types.NoneType))
    if isinstance(value, bool):
        return issubclass(bool, annotation) and annotation is not int
    if annotation in (float, complex):
        return isinstance(value, int | float)
    return isinstance(value, annotation)


def _generic_fits(value: Any, origin: Any, arguments: tuple) -> bool:
    if origin is Callable or origin is type:
        return False
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(fits(item, arguments[0]) for item in value)
        given = () if arguments == ((),) else arguments
        return len(value) == len(given) and all(map(fits, value, given))
    if not isinstance(value, origin) or isinstance(value, str):
        return False
    if issubclass(origin, Mapping) and len(arguments) == 2:
        return all(fits(key, arguments[0]) and fits(item, arguments[1]) for key, item in value.items())
    if issubclass(origin, Sequence | Iterable) and len(arguments) == 1:
        return all(fits(item, arguments[0]) for item in value)
    return True


def _reference_fits(reference: Reference, annotation: Any) -> bool:
    try:
        configurable = look_up(reference.selector)
    except LookupError:  # a finding of its own
        return True
    wanted = typing.get_origin(annotation) or annotation
    if not reference.evaluate:
        return _takes_callable(wanted)
    produced = configurable.produces
    if produced is None:
        return annotation in (None, types.NoneType)
    produced = typing.get_origin(produced) or produced
    if not inspect.isclass(produced) or not inspect.isclass(wanted) or getattr(wanted, "_is_protocol", False):
        return wanted is not typing.Literal or produced in (EMPTY, Any, str, int)
    if wanted is Callable:
        return "__call__" in dir(produced)
    if wanted is float:
        return issubclass(produced, int | float)
    return issubclass(produced, wanted)


def _takes_callable(wanted: Any) -> bool:
    """`@f` without parentheses is the callable itself: no instance of a class that cannot be called."""
    if wanted in (Callable, type, Any, object):
        return True
    if wanted is typing.Literal or wanted is None:
        return False
    if not inspect.isclass(wanted):
        return True
    return any("__call__" in base.__dict__ for base in wanted.__mro__)
