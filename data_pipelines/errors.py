"""Errors about data that a person can fix."""


class DataError(Exception):
    """One line for a person: which file or folder is wrong, how, and what to do."""
