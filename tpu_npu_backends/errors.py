"""Errors about devices that a person can mend."""


class BackendError(Exception):
    """One line for a person: which backend is wrong, how, and how to go on."""
