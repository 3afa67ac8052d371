"""The private registry that `pangu_jax/recipes/signatures.py` reads; gin has no public way to list it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

class Configurable(NamedTuple):
    wrapper: Callable[..., Any]
    wrapped: Callable[..., Any]
    name: str
    module: str
    import_source: tuple[Any, str] | None
    allowlist: Sequence[str] | None
    denylist: Sequence[str] | None
    selector: str
    is_method: bool = False

class _SelectorMap:
    def __getitem__(self, complete_selector: str) -> Any: ...
    def items(self) -> Iterable[tuple[str, Any]]: ...
    def matching_selectors(self, partial_selector: str) -> list[str]: ...
    def get_match(self, partial_selector: str, default: Any = None) -> Any: ...
    def minimal_selector(self, complete_selector: str) -> str: ...

_REGISTRY: _SelectorMap
_CONSTANTS: _SelectorMap

def _inverse_lookup(fn_or_cls: Callable[..., Any], allow_decorators: bool = False) -> Configurable | None: ...
def _find_class_construction_fn(cls: type) -> Callable[..., Any]: ...
