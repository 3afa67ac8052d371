"""The plain trunk under the joint loss: every layout equals one device, with a class token in each stream."""

import dataclasses

import pytest

from pangu_jax.parallel.layout import Layout
from pangu_jax.workloads.vision import VisionModel
from pangu_jax.workloads.vision.model.plain import PlainConfig
from tests.workloads.vision import test_joint as joint

TRUNK = PlainConfig(size=16, patch=4, d_model=32, layers=4, heads=4, qkv_bias=False, tanh=True)
OBJECTIVES = [dataclasses.replace(joint.CONTRAST, stages=1), joint.MASKED]
WORKLOAD = VisionModel(TRUNK, joint.DATA, OBJECTIVES, average=0.9)


@pytest.fixture(scope="module")
def one_device(batches):
    return joint.three_steps(Layout(data=1), batches, WORKLOAD)


batches = joint.batches


@pytest.mark.prove
@pytest.mark.parametrize("name", joint.LAYOUTS)
def test_layouts_of_the_plain_trunk(name, batches, one_device):
    joint.assert_same(joint.three_steps(joint.LAYOUTS[name], batches, WORKLOAD), one_device)
