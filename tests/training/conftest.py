"""The recipe of the small workload that several tests of the trainer share."""

import pytest

from tests.training import digits


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "digits.gin"
    path.write_text(digits.RECIPE)
    return path
