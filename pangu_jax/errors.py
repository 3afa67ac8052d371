"""The one exception that means "the person at the keyboard can mend this"."""


class UserError(Exception):
    """One line for a person: what is wrong, where, and how to go on.

    The command line prints it without a traceback and exits with status 2.
    """
