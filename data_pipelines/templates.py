"""Pages and texts of Jinja templates, by one set of rules: a name that is not there is an error."""

import functools
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

import jinja2


def rendered(package: str, name: str, /, filters: Mapping[str, Callable] | None = None, **given: Any) -> str:
    """A template, filled in; values are escaped where it is of HTML.

    Args:
      package: that it lies in, such as "pangu_jax.runs"; so do those that it extends.
      name: of the file.
      filters: of values, by the names that templates of this package have for them.
      given: what it is filled with.
    """
    environment = _environment(package)
    environment.filters |= filters or {}
    return environment.get_template(name).render(given)


@functools.cache
def _environment(package: str) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (resources.files(package) / name).read_text("utf-8")),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
