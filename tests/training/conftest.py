"""The recipe of the small workload that several tests of the trainer share."""

import gin
import pytest

from tests.training import digits


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "digits.gin"
    path.write_text(digits.RECIPE)
    return path


@pytest.fixture(autouse=True)
def nothing_stays_bound():
    """A recipe's bindings outlive its run, and would change what other tests make in Python."""
    yield
    gin.clear_config()
