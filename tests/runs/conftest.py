"""The run that tests of its report share."""

import pytest

from tests.runs import reported


@pytest.fixture
def run_dir(tmp_path):
    """A language model's run, whose name has to be escaped."""
    folder = tmp_path / 'run <b>&"1'
    reported.write(folder)
    return folder
