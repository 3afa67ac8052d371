"""gin's own parser, by which `pangu_jax/recipes` reads a recipe without carrying it out."""

from collections.abc import Iterator
from typing import Any, NamedTuple

class Location(NamedTuple):
    filename: str | None
    line_num: int
    char_num: int | None
    line_content: str | None

class BindingStatement(NamedTuple):
    scope: str
    selector: str
    arg_name: str
    value: Any
    location: Location

class BlockDeclaration(NamedTuple):
    scope: str
    selector: str
    location: Location

class ImportStatement(NamedTuple):
    module: str
    is_from: bool
    alias: str | None
    location: Location

    def format(self) -> str: ...

class IncludeStatement(NamedTuple):
    filename: str
    location: Location

Statement = BindingStatement | BlockDeclaration | ImportStatement | IncludeStatement

class ParserDelegate:
    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> object: ...
    def macro(self, macro_name: str) -> object: ...

class ConfigParser:
    def __init__(self, string_or_filelike: Any, parser_delegate: ParserDelegate) -> None: ...
    def __iter__(self) -> Iterator[Statement]: ...
