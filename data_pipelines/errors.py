"""Errors about data that a person can mend."""


class DataError(Exception):
    """One line for a person: which file or folder is wrong, how, and how to go on."""
