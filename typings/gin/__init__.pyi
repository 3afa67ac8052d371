"""What we use of gin-config, which has no annotations.

Two of them carry the weight. `configurable` returns what it is given, so that calls of what it decorates
are checked.
`REQUIRED` fits every parameter: `steps: int = gin.REQUIRED` means that a recipe binds `steps`, and the body
then sees an int (unbound, gin raises before the body runs).
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

REQUIRED: Any

@overload
def configurable(name_or_fn: F) -> F: ...
@overload
def configurable(
    name_or_fn: str | None = None,
    module: str | None = None,
    allowlist: Sequence[str] | None = None,
    denylist: Sequence[str] | None = None,
) -> Callable[[F], F]: ...
@overload
def register(name_or_fn: F) -> F: ...
@overload
def register(
    name_or_fn: str | None = None,
    module: str | None = None,
    allowlist: Sequence[str] | None = None,
    denylist: Sequence[str] | None = None,
) -> Callable[[F], F]: ...
def external_configurable(
    fn_or_cls: F,
    name: str | None = None,
    module: str | None = None,
    allowlist: Sequence[str] | None = None,
    denylist: Sequence[str] | None = None,
) -> F: ...
def bind_parameter(binding_key: str, value: object) -> None: ...
def clear_config(clear_constants: bool = False) -> None: ...
def constant(name: str, value: T) -> T: ...
def get_bindings(
    configurable_: str | Callable[..., Any], resolve_references: bool = True, inherit_scopes: bool = True
) -> dict[str, Any]: ...
def get_configurable(fn_or_cls_or_selector: str | Callable[..., Any]) -> Callable[..., Any]: ...
def parse_config(bindings: str | Sequence[str], skip_unknown: bool | Sequence[str] = False) -> object: ...
def query_parameter(binding_key: str) -> Any: ...
