"""Errors about devices that a person can fix."""


class BackendError(Exception):
    """One line for a person: which backend is wrong, how, and what to do."""
