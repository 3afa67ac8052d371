"""One store for all tests of fields."""

import pytest

from data_pipelines.fields.writing import write_store
from tests.data_pipelines.fields.small_store import GRID, HOURS, NAMES, state


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    pytest.importorskip("zarr")
    path = tmp_path_factory.mktemp("fields") / "some.zarr"
    write_store(path, GRID, NAMES, HOURS, state)
    return path
