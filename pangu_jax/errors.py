"""The exception that means "the person at the keyboard can fix this", and what they may have meant."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """One line for a person: what is wrong, where, and how to continue.

    The command line prints it without a traceback and exits with status 2.
    """


class OtherFamilyError(UserError):
    """A run of another model family than is asked for; the command line adds what can be done with it.

    Args:
      message: the line.
      family: the run's.
    """

    def __init__(self, message: str, family: str):
        super().__init__(message)
        self.family = family


def suggestion(word: str, candidates: Iterable[str], cutoff: float = 0.6) -> str:
    """ "; did you mean 'x'?" for the nearest of `candidates`, or "" when nothing is near."""
    candidates = sorted(set(candidates))
    near = difflib.get_close_matches(word, candidates, n=1, cutoff=cutoff)
    if not near:  # a change of case is a distance difflib counts letter by letter; to a person it is none
        near = [name for name in candidates if name.lower() == word.lower()][:1]
    return f"; did you mean '{near[0]}'?" if near else ""
