"""One trainer at a time, and errors a person can act on."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pangu_jax.errors import UserError
from pangu_jax.runs.run_directory import RunDirectory

HOLD_THE_LOCK = """
import sys, time
from pangu_jax.runs.run_directory import RunDirectory
run = RunDirectory(sys.argv[1]).acquire()
print("held", flush=True)
time.sleep(60)
"""

AS_NOBODY = """
import os, sys
from pangu_jax.errors import UserError
from pangu_jax.runs.run_directory import RunDirectory
if os.geteuid() == 0:
    os.setuid(65534)
try:
    RunDirectory(sys.argv[1]).acquire()
except UserError as error:
    print(error)
"""


def test_a_second_trainer_is_refused_by_name_and_the_lock_dies_with_its_process(tmp_path):
    command = [sys.executable, "-c", HOLD_THE_LOCK, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"in use .*: pid {holder.pid} on host \S+ since \S+ \(-c"):
            RunDirectory(tmp_path).acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with RunDirectory(tmp_path):
        pass


def test_a_released_directory_can_be_taken_again(tmp_path):
    with (
        RunDirectory(tmp_path / "new" / "run") as first,
        pytest.raises(UserError, match=f"pid {os.getpid()}"),
    ):
        RunDirectory(first.path).acquire()
    with RunDirectory(first.path):
        pass


@pytest.mark.parametrize("exists", [True, False])
def test_read_only(exists):
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        run = Path(top) / "run"
        if exists:
            run.mkdir()
        (run if exists else Path(top)).chmod(0o555)
        command = [sys.executable, "-c", AS_NOBODY, str(run)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"cannot write the run directory {run}: Permission denied; choose another with --run_dir\n"


def test_recipe_and_log(tmp_path):
    with RunDirectory(tmp_path) as run:
        assert run.previous_recipe() is None
        run.write_recipe("train.steps = 3\n# 盘古\n")
        logging.getLogger("pangu_jax.training").info("a line")
    logging.getLogger("pangu_jax.training").warning("too late")
    assert RunDirectory(tmp_path).previous_recipe() == "train.steps = 3\n# 盘古\n"
    assert run.log.read_text().endswith("INFO pangu_jax.training: a line\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "recipe.gin", "run.log"]
