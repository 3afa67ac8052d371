"""The values a recipe can hold, read with gin's own parser and written back in gin's syntax.

Apart from Python literals there are two: a reference (`@adamw()`) and a macro (`%STEPS`). Here they are plain
data, so that a recipe can be read, compared and written without anything being registered or called. Their
`repr` is gin syntax, hence `repr` of any value, nested or not, is what a recipe would say.
"""

import re
from dataclasses import dataclass
from typing import Any

from gin import config_parser


@dataclass(frozen=True)
class Reference:
    """`@scope/selector`, or `@scope/selector()` when `evaluate`: what the call gives, not the callable."""

    scope: str
    selector: str
    evaluate: bool

    def __repr__(self) -> str:
        return f"@{self.scope}{'/' if self.scope else ''}{self.selector}{'()' if self.evaluate else ''}"


@dataclass(frozen=True)
class Macro:
    """`%NAME`."""

    name: str

    def __repr__(self) -> str:
        return f"%{self.name}"


class Delegate(config_parser.ParserDelegate):
    """Tells gin's parser to build our plain data instead of looking names up in its registry."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        scope, _, selector = scoped_configurable_name.rpartition("/")
        return Reference(scope, selector, evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


def parse_value(text: str) -> Any:
    """The value of gin syntax `text`. ValueError when it is not one value in gin's syntax."""
    try:
        statements = list(config_parser.ConfigParser(f"value = {text}", Delegate()))
    except Exception as error:  # gin raises SyntaxError, tokenize raises its own, ast.literal_eval ValueError
        raise ValueError(f"not a gin value: {text}") from error
    match statements:
        case [config_parser.BindingStatement(selector="value") as statement]:
            return statement.value
    raise ValueError(f"not one gin value: {text}")


def parse_flag_value(text: str) -> Any:
    """The value of `--gin.NAME=text`: gin syntax if it is that, else the text itself as a string.

    So `10`, `1e-3`, `True`, `None`, `(1, 2)`, `'quoted'`, `@adamw()` and `%STEPS` mean what they mean in a
    recipe, while `cpu:8`, `/my data/x` or `none` need no quotes. A text that opens like gin syntax, with
    one of ( [ { @ % ' ", is never taken for a string: ValueError when it does not parse.
    """
    text = text.strip()
    is_gin_syntax = re.match(r"[(\[{@%'\"]", text)
    if "#" in text and not is_gin_syntax:  # gin would drop the rest as a comment; a person means data#2
        return text
    try:
        return parse_value(text)
    except ValueError:
        if is_gin_syntax:
            raise
        return text
