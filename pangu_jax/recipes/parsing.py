"""From gin files to a list of statements, each with its file and line, includes laid in where they are."""

import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gin import config_parser

from pangu_jax.errors import UserError
from pangu_jax.recipes import renamed
from pangu_jax.recipes.files import find
from pangu_jax.recipes.findings import RecipeFinding, Where
from pangu_jax.recipes.values import Delegate


@dataclass(frozen=True)
class Binding:
    """One statement `scope/selector.parameter = value`; a macro `NAME = value` has the parameter ""."""

    scope: str
    selector: str
    parameter: str
    value: Any
    where: Where

    @property
    def name(self) -> str:
        """As written: `scope/selector.parameter`, or the macro's name."""
        return (
            f"{self.scope}/" * bool(self.scope) + self.selector + f".{self.parameter}" * bool(self.parameter)
        )


@dataclass(frozen=True)
class Import:
    """A statement that loads a module, in gin's syntax (`statement`), and that module's name of today."""

    module: str
    statement: str
    where: Where


Statement = Binding | Import | RecipeFinding


def read(path: Path, including: tuple[Path, ...] = ()) -> Iterator[Statement]:
    """The statements of a file in the order gin would carry them out.

    What cannot be read is yielded as a RecipeFinding, and reading resumes wherever that has a meaning: after
    a missing include, but not after a syntax error in the same file. `including` are the files on the way
    here.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        yield RecipeFinding(Where(str(path)), f"cannot be read: {error}", unread=True)
        return
    try:
        for statement in config_parser.ConfigParser(text, Delegate()):
            where = Where(str(path), statement.location.line_num)
            if isinstance(statement, config_parser.BindingStatement):
                yield Binding(statement.scope, statement.selector, statement.arg_name, statement.value, where)
            elif isinstance(statement, config_parser.ImportStatement):
                statement = statement._replace(module=renamed.current(statement.module))
                yield Import(statement.module, statement.format(), where)
            elif isinstance(statement, config_parser.IncludeStatement):
                yield from _included(statement.filename, where, (*including, path))
    except (SyntaxError, tokenize.TokenError, ValueError) as error:
        yield RecipeFinding(_place(error, path), f"is not gin syntax: {_reason(error, text)}", unread=True)


def _included(name: str, where: Where, including: tuple[Path, ...]) -> Iterator[Statement]:
    try:
        path = find(name, beside=including[-1].parent)
    except UserError as error:
        yield RecipeFinding(where, f"include: {error}")
        return
    if path in including:
        yield RecipeFinding(where, f"include '{name}' comes back to a file that is being read")
        return
    yield from read(path, including)


def _place(error: Exception, path: Path) -> Where:
    """gin hangs a line number on its errors; tokenize's own error carries a pair (line, column)."""
    line = getattr(error, "lineno", None)
    if isinstance(error, tokenize.TokenError):
        line = error.args[1][0]
    return Where(str(path), line or 1)


def _reason(error: Exception, text: str) -> str:
    """gin's first line, and the offending line itself: most often it is a string without quotes."""
    if isinstance(error, tokenize.TokenError):
        return "a bracket or a long string is never closed"
    reason = str(getattr(error, "msg", None) or error.args[0]).splitlines()[0]
    if reason.startswith("malformed node"):
        reason = "unable to parse value"
    lines = text.splitlines()
    line = getattr(error, "lineno", None)
    shown = lines[line - 1].strip() if line and line <= len(lines) else ""
    hint = " (a string needs quotes here)" if "parse value" in reason else ""
    return f"{reason.rstrip('.').lower()}{hint}: {shown}" if shown else reason.rstrip(".").lower()
