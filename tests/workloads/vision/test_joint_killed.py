"""A joint run, killed and resumed: parameters, teacher, queue and running sizes to the bit."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pangu_jax.runs import checkpoint_files, metrics

pytestmark = pytest.mark.prove

ROOT = Path(__file__).parents[3]
STEPS = 60
RECIPE = f"""
import data_pipelines.images.images
import pangu_jax.workloads.vision

train.workload = @VisionModel()
train.optimizer = @adamw()
train.steps = {STEPS}
train.batch_size = 8
train.checkpoint_every = 4
train.validate_every = 20
train.log_every = 1
train.backend = 'cpu'
adamw.schedule = @cosine_schedule()
cosine_schedule.steps = {STEPS}
cosine_schedule.learning_rate = 1e-3
cosine_schedule.warmup = 5

VisionModel.model = @HierarchicalTransformer()
VisionModel.data = @images()
VisionModel.objectives = [@NeighbourContrast(), @MaskedPixels()]
VisionModel.average = 0.9
HierarchicalTransformer.size = 16
HierarchicalTransformer.unit = 4
HierarchicalTransformer.d_model = 16
HierarchicalTransformer.depths = (1, 1, 1)
HierarchicalTransformer.heads = 2
NeighbourContrast.neighbours = 2
NeighbourContrast.neighbours_from = 10
NeighbourContrast.queue = 32
NeighbourContrast.hidden = 16
NeighbourContrast.width = 8
MaskedPixels.width = 16
MaskedPixels.layers = 1
MaskedPixels.heads = 2
images.size = 16
images.views = 2
images.plain_augment = [@RandomCrop()]
RandomCrop.size = 16
RandomResizedCrop.size = 16
"""
MEASURED = {"tokens_per_second", "mfu", "step_seconds", "seconds", "host_memory_gib", "device_memory_gib"}


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    top = tmp_path_factory.mktemp("joint")
    draw = np.random.default_rng(0)
    for number in range(40):
        path = top / "photos" / f"class {number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (20, 20, 3), np.uint8)).save(path)
    (top / "joint.gin").write_text(RECIPE)
    return [
        "--gin_file", str(top / "joint.gin"),
        f"--gin.images.path={str(top / 'photos')!r}",
        f"--gin.images.cache_dir={str(top / 'cache')!r}",
    ]  # fmt: skip


def start(arguments, run_dir):
    command = [sys.executable, "-m", "pangu_jax.train", *arguments, "--run_dir", str(run_dir)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def last_step(run_dir):
    return max((row["step"] for row in metrics.read(run_dir / "metrics.jsonl")), default=0)


def finish(arguments, run_dir):
    process = start(arguments, run_dir)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert checkpoint_files.verify(run_dir)["usable"][-1] == STEPS
    rows = metrics.read(run_dir / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]


def test_killed_and_resumed_to_the_bit(arguments, tmp_path, proof):
    whole = finish(arguments, tmp_path / "whole")
    assert all("extra_norm" in row for row in whole if "grad_norm" in row)
    run_dir, moments, killed = tmp_path / "killed", random.Random(0), []
    run_dir.mkdir()
    for _ in range(3):
        with start(arguments, run_dir) as process:
            target, deadline = last_step(run_dir) + moments.randint(3, 12), time.monotonic() + 300
            while process.poll() is None and last_step(run_dir) < target and time.monotonic() < deadline:
                time.sleep(0.002)
            assert process.poll() is None, process.communicate()[1]
            process.kill()
        assert process.returncode == -signal.SIGKILL
        killed.append(last_step(run_dir))
    assert 0 < killed[0] < killed[-1] < STEPS
    assert finish(arguments, run_dir) == whole
    proof("killed after steps", ", ".join(map(str, killed)))
    proof("rows equal to the bit", len(whole))
