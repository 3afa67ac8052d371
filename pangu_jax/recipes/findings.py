"""What a check says: one line each, with the place to fix it and, for a misspelling, the likely name."""

from dataclasses import dataclass
from pathlib import Path

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Where:
    """A place in a recipe: a file and a line (counted from 1), or the command line, which has no lines."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        path = Path(self.file)
        if path.is_absolute() and path.is_relative_to(Path.cwd()):
            path = path.relative_to(Path.cwd())
        return str(path) if self.line is None else f"{path}:{self.line}"


@dataclass(frozen=True)
class RecipeFinding:
    """One thing that is wrong with a recipe. `str()` is the line shown to a person.

    `unread` says that the rest of the file is unknown because of it; `stops`, that no verb runs the recipe.
    """

    where: Where
    message: str
    unread: bool = False
    stops: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {' '.join(self.message.split())}"
