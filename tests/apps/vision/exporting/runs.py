"""A run of fresh parameters, as `opening.open_run` gives it."""

from types import SimpleNamespace

import jax

from pangu_jax.models.placement import OneDevice
from pangu_jax.recipes import load
from pangu_jax.recipes.functions import TRAIN
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.vision import PictureClassifier
from pangu_jax.workloads.vision.bases import FreshTrunk
from pangu_jax.workloads.vision.data import NoPictures
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.plain import PlainConfig
from pangu_jax.workloads.vision.workload import VisionModel

TRUNK = HierarchicalConfig(size=16, unit=8, d_model=32, depths=(1, 1, 2), heads=2, stem_ratio=2.0)
VIT = PlainConfig(size=16, patch=8, d_model=32, layers=2, heads=2, classes=5, pooling="attention")
LABELS = ("ant", "bee", "cat", "dog")


def opened(workload, variables):
    """By the fields that an export reads."""
    return SimpleNamespace(
        workload=workload,
        variables=variables,
        spread=SimpleNamespace(run=RunContext(OneDevice()), mesh=None),
        directory=RunDirectory("runs/x"),
        recipe=load([], [], function=TRAIN),
        manifest={"step": 7},
    )


def classifier(trunk=TRUNK):
    """Whose head tells pictures apart."""
    workload = PictureClassifier(FreshTrunk(trunk), NoPictures(trunk.size, trunk.channels, 1, False, LABELS))
    params, extra, constants = workload.init(jax.random.key(0))
    kernel = params["head"]["kernel"]
    head = params["head"] | {"kernel": jax.random.normal(jax.random.key(1), kernel.shape)}
    return opened(workload, Variables(params | {"head": head}, extra, constants))


def trunk(config=TRUNK):
    """Without classes of its own, unless the configuration has some."""
    workload = VisionModel(config, NoPictures(config.size, config.channels, 1, False), [])
    return opened(workload, workload.init(jax.random.key(0)))
