"""The plain trunk under the joint loss: every layout equals one device, with a class token in each stream."""

import dataclasses

import pytest

from pangu_jax.parallel.layout import Layout
from pangu_jax.workloads.vision import VisionModel
from pangu_jax.workloads.vision.model.plain import PlainConfig
from tests.workloads.vision import test_joint as joint

TRUNK = PlainConfig(size=16, patch=4, d_model=32, layers=4, heads=4, qkv_bias=False, tanh=True)
CONTRAST, MASKED, _ = joint.WORKLOAD.objectives
OBJECTIVES = [dataclasses.replace(CONTRAST, stages=1), MASKED]
WORKLOAD = VisionModel(TRUNK, joint.WORKLOAD.data, OBJECTIVES, joint.WORKLOAD.average)
LAYOUTS = joint.FAST | joint.OTHERS


@pytest.fixture(scope="module")
def one_device(batches):
    return joint.three_steps(Layout(data=1), batches, WORKLOAD)


batches = joint.batches


@pytest.mark.prove
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_the_plain_trunk(name, batches, one_device):
    joint.assert_same(joint.three_steps(LAYOUTS[name], batches, WORKLOAD), one_device)
