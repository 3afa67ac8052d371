"""Builds by several processes that are killed, and by a Ray cluster: the same bytes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_pipelines.fields.reading.build import build
from tests.data_pipelines.fields.reading.test_build import contents
from tests.data_pipelines.fields.reading.weather_files import DATA, needs_data

pytestmark = [pytest.mark.prove, needs_data]
ROOT = Path(__file__).parents[4]
MARCH = DATA / "xarray_samples/era5-2mt-2019-03-uk.grib"
# Blocks of 8 of the 744 hours, so that there are many to be killed among.
SCRIPT = """
import sys
from data_pipelines.fields.reading import plan
plan.BLOCK_BYTES = 4 * 33 * 49 * 8
from data_pipelines.fields.reading.build import build
if __name__ == "__main__":
    build([sys.argv[1]], sys.argv[2], workers=2, ray_address=sys.argv[3] if len(sys.argv) > 3 else None)
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "builds.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return contents(build([str(MARCH)], tmp_path_factory.mktemp("whole") / "march", workers=1).path)


def begin(script, output, *more):
    command = [sys.executable, str(script), str(MARCH), str(output), *more]
    return subprocess.Popen(command, cwd=ROOT, env=_environment(), stderr=subprocess.PIPE, text=True)


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_killed_twice(script, whole, tmp_path):
    output = tmp_path / "march"
    seen = 0
    for least in (10, 40):
        process = begin(script, output)
        while (
            process.poll() is None and len(list(tmp_path.glob("march.work/blocks-*/0*/stats.json"))) < least
        ):
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()[1][-2000:]
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen = len(list(tmp_path.glob("march.work/blocks-*/0*/stats.json")))
        assert least <= seen < 93 and not output.exists()
    process = begin(script, output)
    assert process.wait() == 0, process.communicate()[1][-2000:]
    assert contents(output) == whole


def test_on_ray(script, whole, tmp_path):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        process = begin(script, tmp_path / "march", cluster.address)
        said = process.communicate(timeout=400)[1]
        assert process.returncode == 0, said[-3000:]
        assert contents(tmp_path / "march") == whole
    finally:
        cluster.shutdown()
