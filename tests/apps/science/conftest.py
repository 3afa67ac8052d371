"""A run on a small drifting atmosphere, which every test of its use shares."""

import numpy as np
import pytest

from pangu_jax import cli
from tests.apps.science.drifting import GRID, NAMES, RECIPE, state

STATES = 140  # 6 h apart


@pytest.fixture(scope="package")
def store(tmp_path_factory):
    """States of waves that move eastward, with a little noise."""
    from data_pipelines.fields.writing import write_store

    path = tmp_path_factory.mktemp("science") / "store.zarr"
    times = np.datetime64("2001-01-01T00") + np.arange(STATES) * np.timedelta64(6, "h")
    write_store(path, GRID, NAMES, times, state)
    return path


@pytest.fixture(scope="package")
def run_dir(tmp_path_factory, store):
    """Four steps: every file that a run has."""
    directory = tmp_path_factory.mktemp("weather") / "run"
    recipe = directory.with_name("weather.gin")
    recipe.write_text(RECIPE)
    given = ["--gin_file", str(recipe), "--run_dir", str(directory), f"--gin.fields.path={store}"]
    assert cli.main(["train", *given]) == 0
    return directory


@pytest.fixture
def pangu(capsys):
    """Runs `pangu` and gives status, output and errors."""

    def call(*arguments):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            status = exit_.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return call
