"""T5's folders, and what becomes of them, once a session."""

import pytest

from tests.apps.language.conversion import t5_folders


@pytest.fixture(scope="session")
def spiece() -> bytes:
    return t5_folders.spiece()


@pytest.fixture(scope="session")
def mt5_spiece() -> bytes:
    return t5_folders.spiece(own_sentinels=True)
