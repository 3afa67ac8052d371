"""A vision model in numbers: beside its arrays, beside its programs, and on a pipeline's stages."""

import dataclasses

import jax
import pytest

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.planner import cost, planner, predictions
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.vision import VisionModel, shapes
from pangu_jax.workloads.vision.data import NoPictures
from pangu_jax.workloads.vision.model.contrast import NeighbourContrast
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.masked import MaskedPixels
from pangu_jax.workloads.vision.model.plain import PlainConfig
from pangu_jax.workloads.vision.model.restoring import Restoration
from tests.workloads.vision.test_masked import products
from tpu_npu_backends import compiling, topologies

BATCH = 8
TRUNK = HierarchicalConfig(size=16, unit=4, d_model=32, depths=(1, 2, 4), heads=4)
PIXELS = MaskedPixels(ratio=0.75, width=32, layers=2, heads=4)
MASKED = VisionModel(TRUNK, NoPictures(16, 3, 1, False), [PIXELS])
JOINT = VisionModel(
    TRUNK,
    NoPictures(16, 3, 2, True),
    [NeighbourContrast(neighbours=2, queue=16, hidden=24, width=16), PIXELS],
    average=0.9,
)
LARGEST = VisionModel(
    HierarchicalConfig(d_model=2560, depths=(4, 4, 38), heads=20),
    NoPictures(224, 3, 1, False),
    [MaskedPixels()],
)
PLAIN = VisionModel(
    PlainConfig(size=16, patch=4, d_model=32, layers=2, heads=4),
    NoPictures(16, 3, 1, False),
    [Restoration(tasks=("denoise", "x2"), width=8, blocks=2), PIXELS],
)
MODELS = {"masked": MASKED, "joint": JOINT, "plain, restoring": PLAIN, "3b": LARGEST}


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_the_matrices(name):
    """Without norms, biases, learnt tokens and positions."""
    params = jax.eval_shape(MODELS[name].init, jax.random.key(0)).params
    names = {
        jax.tree_util.keystr(path, simple=True, separator="/"): w
        for path, w in jax.tree.leaves_with_path(params)
    }
    small = ("norm", "bias", "token", "positions")
    assert MODELS[name].shape().parameters == sum(
        w.size for path, w in names.items() if not any(word in path for word in small)
    )


def gradient(workload):
    """What a step differentiates, and shapes to trace it with."""
    start = jax.eval_shape(workload.init, jax.random.key(0))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), BATCH))

    def of(params, extra, batch, keys):
        run = RunContext(OneDevice())
        return jax.grad(lambda p: workload.loss(Variables(p, extra), batch, keys, run).loss)(params)

    return of, (start.params, start.extra, workload.batch_shapes(BATCH), keys)


def test_flops_are_those_of_the_traced_gradient():
    """Both views, the teacher's passes, the queue, seen units and painted ones: exactly. What a step reports
    counts three products for pixels too, which want no gradient."""
    of, arrays = gradient(JOINT)
    found = products(of, *arrays)
    assert found == JOINT.shape().flops(BATCH) == pytest.approx(JOINT.flops_per_step(BATCH), rel=0.01)


@pytest.mark.parametrize(
    ("workload", "off"), [(LARGEST, 1e-3), (PLAIN, 0.03)], ids=["3b", "plain, restoring"]
)
def test_flops_are_those_that_a_step_reports(workload, off):
    assert workload.shape().flops(4096) == pytest.approx(workload.flops_per_step(4096), rel=off)


def test_a_published_size_has_its_published_parameters_and_flops():
    """HiViT-B (arXiv 2205.14949): 66.4M with a head of 1000 classes, 15.9 G multiplications a picture."""
    config = HierarchicalConfig()
    towers, ends = shapes.of_trunk(config, (config.units,))
    parameters = sum(t.layers * t.parameters for t in towers) + sum(end.parameters for end in ends)
    assert parameters + 512 * 1000 == pytest.approx(66.4e6, rel=0.01)
    flops = sum(t.layers * t.flops for t in towers) + sum(end.flops for end in ends)
    assert flops / 2 == pytest.approx(15.9e9, rel=0.03)


RATIOS = (PIXELS.ratio, 1e-17)  # 1 - 1e-17 is 1: all units are kept, and the painter is the same


def painting(ratio):
    trunk = dataclasses.replace(TRUNK, depths=(1, 1, 2))
    return VisionModel(trunk, MASKED.data, [MaskedPixels(ratio=ratio, width=16, layers=1, heads=2)])


def test_what_is_left_out_is_not_computed():
    """By the traced gradient: a quarter of the units seen, at most .45 of the same with all of them."""
    counted = []
    for workload in map(painting, RATIOS):
        of, arrays = gradient(workload)
        counted.append(products(of, *arrays))
        assert counted[-1] == pytest.approx(workload.shape().flops(BATCH), rel=0.01)
    assert counted[0] <= 0.45 * counted[1]


@pytest.mark.prove
def test_what_is_left_out_is_not_compiled():
    one, counted = topologies.parse("cpu:1"), []
    for workload in map(painting, RATIOS):
        of, arrays = gradient(workload)
        text = compiling.compile_for(one, jax.jit(of).lower(*arrays)).as_text()
        counted.append(cost.report(text, one, {"data": 1}).matmul_flops)
        assert counted[-1] == pytest.approx(workload.shape().flops(BATCH), rel=0.01)
    assert counted[0] <= 0.45 * counted[1]


def predicted(workload, layout, topology="v5p:2x2x1", batch=64):
    model = predictions.describe(workload, batch, optimizer_bytes=8.0)
    return predictions.predict(model, topologies.parse(topology), layout)


def test_only_the_main_stage_is_cut_over_stages():
    """Two perceptrons over four stages: whole on each, as the painter and a teacher's weights are."""
    memory = predicted(JOINT, Layout(stage=4, data=1, schedule="gpipe", microbatches=4)).memory
    shape = JOINT.shape()
    main = next(t for t in shape.towers if t.name == "main")
    in_layers = main.layers * main.parameters
    taught = sum(t.layers * t.parameters for t in shape.towers if not t.learns)
    stored = in_layers / 4 + shape.parameters - in_layers
    assert memory["optimizer"] == 8 * stored and memory["parameters"] == 4 * (stored + taught)


def test_a_pipeline_runs_what_feeds_it_on_every_stage():
    """More stages share the main stage and the painter; what comes before is computed by each, and again."""

    def compute(stages):
        return predicted(
            LARGEST, Layout(stage=stages, data=4 // stages, schedule="gpipe", microbatches=4), batch=256
        ).compute_s

    whole = predicted(LARGEST, Layout(data=4), batch=256)
    assert whole.bubble == 0 and compute(2) > 1.1 * whole.compute_s


def test_the_search_plans_pipelines_of_one_tower():
    model = predictions.describe(LARGEST, 4096, optimizer_bytes=8.0)
    found = planner.search(model, topologies.parse("v5p:4x4x4"), top=3, fixed={"stage": 2}).ranking
    assert {one.layout.schedule for one in found} <= {"gpipe", "circular", "1f1b"} and len(found) == 3


def test_what_has_no_numbers_is_said():
    with pytest.raises(UserError, match="no layout is planned for a model without a trunk"):
        VisionModel(None, NoPictures(16, 3, 1, False), [Restoration()]).shape()
    with pytest.raises(UserError, match="no layout can be planned for a trunk object"):
        shapes.of_trunk(object(), (4,))
    with pytest.raises(UserError, match="no layout can be planned for object"):
        shapes.of_objective(object(), TRUNK, 16, 3)
