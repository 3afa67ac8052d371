"""A real Ray cluster of two nodes on this machine: the same bytes as a pool, also when one node is killed."""

import hashlib
import json
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_pipelines.corpus.ray_workers import REACH_SECONDS, RayCluster
from data_pipelines.errors import DataError
from tests.corpus.prose import prose

ROOT = Path(__file__).parents[2]


def files(output):
    dataset = Path(output) / "dataset"
    paths = [path for path in sorted(dataset.rglob("*")) if path.is_file()]
    assert paths
    return {str(p.relative_to(dataset)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def build(raw, output, *more):
    command = [sys.executable, "-m", "pangu_jax.cli", "corpus", "build", "--input", str(raw), "--output",
               str(output), "--gin.Reading.chunk_bytes=40000", "--gin.Reading.unit_bytes=30000",
               "--gin.Decontamination.sets=()", *more]  # fmt: skip
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said[-3000:]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """800 documents: enough that a node can be killed in the middle of a stage."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("many")
    for part in range(8):
        rows = (json.dumps({"text": prose(rng, 20)}, ensure_ascii=False) for _ in range(100))
        (folder / f"part{part}.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def pooled(many, tmp_path_factory):
    output = tmp_path_factory.mktemp("pooled") / "corpus"
    finish(build(many, output, "--workers", "2"))
    return files(output)


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster
    cluster.shutdown()


@pytest.mark.prove
def test_two_nodes_give_the_same_bytes(many, pooled, cluster, tmp_path):
    cluster.add_node(num_cpus=1)
    finish(build(many, tmp_path / "out", "--ray_address", cluster.address))
    assert files(tmp_path / "out") == pooled


@pytest.mark.prove
def test_a_killed_node_is_survived(many, pooled, cluster, tmp_path):
    node = cluster.add_node(num_cpus=1)
    process = build(many, tmp_path / "out", "--ray_address", cluster.address)
    deadline = time.monotonic() + 200
    while not list((tmp_path / "out").glob("work/read/*/stats.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None
    cluster.remove_node(node, allow_graceful=False)
    finish(process)
    assert files(tmp_path / "out") == pooled


def test_an_address_where_nobody_listens_is_told_soon(tmp_path):
    with socket.socket() as bound:  # bound, not listening: refused at once
        bound.bind(("127.0.0.1", 0))
        began = time.monotonic()
        with (
            pytest.raises(DataError, match="nobody answers there"),
            RayCluster(f"127.0.0.1:{bound.getsockname()[1]}", tmp_path),
        ):
            pass
    assert time.monotonic() - began < REACH_SECONDS
    with pytest.raises(DataError, match="write HOST:PORT"), RayCluster("nowhere", tmp_path):
        pass
