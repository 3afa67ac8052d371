"""A loss of a whole batch on every layout, whole and accumulated: one device's, and in pieces of memory."""

import dataclasses
import functools
import importlib.util
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import gradients, step
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.multimodal.model import contrast
from tests.workloads.compared_pairs import ComparedPairs, batch_of
from tpu_npu_backends import topologies
from tpu_npu_backends.compiling import compile_for

BATCH, FILLED = 32, 29
LAYOUTS = {
    "data 8": Layout(data=8),
    "fsdp 8": Layout(data=1, fsdp=8),
    "data 4 x model 2": Layout(data=4, model=2),
}


def mesh_of(layout):
    return make_mesh(layout, jax.devices()[: math.prod(layout.axis_sizes().values())])


def first_gradient(layout, workload=ComparedPairs()):  # noqa: B008 - stateless
    """The gradient, metrics and rows of a batch, as numpy."""
    run, params = RunContext(OneDevice()), workload.init(jax.random.key(0)).params
    gradient = gradients.make_gradients(workload, layout, mesh_of(layout), run, BATCH)
    keys = step.example_keys(jax.random.key(1), 0, BATCH)
    grads, sums = jax.jit(lambda p, b, k: gradient(Variables(p), b, k))(params, batch_of(BATCH, FILLED), keys)
    return jax.device_get((grads, sums))


@pytest.fixture(scope="module")
def one_device():
    return first_gradient(Layout(data=1))


def test_the_comparison_is_worth_it(one_device):
    grads, sums = one_device
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(grads))
    assert sums.weight == FILLED
    assert sums.updates.rows["clip"].shape == (BATCH,)
    assert 1 < sums.metrics["right/clip"][0] == sums.metrics["right/siglip"][0] < FILLED


@pytest.mark.parametrize("microbatches", [1, 4])
@pytest.mark.parametrize("partitioning", ["auto", "manual"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_losses_and_gradients_are_those_of_one_device(one_device, name, partitioning, microbatches):
    layout = dataclasses.replace(LAYOUTS[name], partitioning=partitioning, microbatches=microbatches)
    close(first_gradient(layout), one_device)


def close(found, expected):
    for (path, want), got in zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("trainable", [("image",), ("text", "join")])
def test_what_does_not_learn_is_still_compared(one_device, trainable):
    workload, layout = ComparedPairs(), Layout(data=2, microbatches=4)
    params = workload.init(jax.random.key(0)).params
    learns = {name: jax.tree.map(lambda _, n=name: n in trainable, tree) for name, tree in params.items()}
    gradient = gradients.make_gradients(
        workload, layout, mesh_of(layout), RunContext(OneDevice()), BATCH, learns
    )
    keys = step.example_keys(jax.random.key(1), 0, BATCH)
    found = jax.jit(lambda p, b, k: gradient(Variables(p), b, k))(params, batch_of(BATCH, FILLED), keys)[0]
    close(
        found, {n: t if n in trainable else jax.tree.map(np.zeros_like, t) for n, t in one_device[0].items()}
    )


@pytest.mark.parametrize("partitioning", ["auto", "manual"])
def test_evaluation_compares_all_pairs_too(partitioning):
    workload, batch = ComparedPairs(), batch_of(BATCH, FILLED)
    variables = workload.init(jax.random.key(0))
    whole = jax.jit(lambda v, b: workload.loss(v, b, None, RunContext(OneDevice())))(variables, batch)
    layout = Layout(data=4, model=2, microbatches=4, partitioning=partitioning)
    sums = gradients.make_sums(workload, layout, mesh_of(layout), RunContext(OneDevice()), BATCH)
    found = jax.jit(sums)(variables, batch)
    close((found.loss, found.weight, found.metrics), (whole.loss, whole.weight, whole.metrics))


def test_averaging_the_losses_of_parts_is_another_loss():
    """What plain accumulation, or devices that compare their own rows alone, would minimise."""
    workload, batch = ComparedPairs(), batch_of(BATCH, BATCH)
    variables, run = workload.init(jax.random.key(0)), RunContext(OneDevice())
    loss = jax.jit(lambda batch: workload.loss(variables, batch, None, run))
    parts = [loss({name: x[n : n + 4] for name, x in batch.items()}) for n in range(0, BATCH, 4)]
    whole = loss(batch)
    for name in ("loss/clip", "loss/siglip"):
        assert sum(sums.metrics[name][0] for sums in parts) < 0.8 * whole.metrics[name][0]
    np.testing.assert_allclose(
        sum(sums.metrics["loss/own"][0] for sums in parts), whole.metrics["loss/own"][0], rtol=1e-5
    )


def test_a_pipeline_is_refused_in_words():
    layout = Layout(stage=2, data=4, schedule="gpipe", microbatches=2)
    with pytest.raises(UserError, match=r"Layout\.schedule = 'gpipe', Layout\.stage = 2.* use Layout\.sched"):
        gradients.make_gradients(ComparedPairs(), layout, mesh_of(layout), RunContext(OneDevice()), BATCH)


PAIRS = 48  # on 8 devices 6 each: no other size of the program is one of these


@functools.cache
def compiled(loss, partitioning, pairs=PAIRS, topology="cpu:8"):
    """The text of a loss's gradient on 8 devices."""
    workload, layout, chips = ComparedPairs((loss,)), Layout(data=8), topologies.parse(topology)
    layout = dataclasses.replace(layout, partitioning=partitioning)
    mesh = make_mesh(layout, topologies.devices(chips))
    gradient = gradients.make_gradients(workload, layout, mesh, RunContext(OneDevice()), pairs)

    def there(shape, *axes):
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=NamedSharding(mesh, P(*axes)))

    params = jax.tree.map(there, jax.eval_shape(workload.init, jax.random.key(0)).params)
    batch = {name: there(shape, "data") for name, shape in workload.batch_shapes(pairs).items()}
    lowered = jax.jit(lambda p, b: gradient(Variables(p), b, None)).lower(params, batch)
    return compile_for(chips, lowered).as_text()


def shapes_in(text):
    return {tuple(map(int, found.split(","))) for found in re.findall(r"\w\[([\d,]+)\]", text)}


@pytest.mark.parametrize("partitioning", ["auto", "manual"])
def test_no_device_holds_all_pairs(partitioning):
    require_pieces(PAIRS, *(shapes_in(compiled(loss, partitioning)) for loss in ("clip", "siglip")))


def require_pieces(pairs, clip, siglip):
    own = pairs // 8
    assert (own, pairs) in clip
    assert (own, own) in siglip
    assert not [shape for shape in clip if math.prod(shape) >= pairs * pairs]
    # Nor its own rows times everyone's.
    assert not [shape for shape in siglip if {own, pairs} <= set(shape) or shape.count(pairs) > 1]


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install 'pangu-jax[tpu]'"
)
@pytest.mark.prove
def test_no_tpu_holds_all_pairs(proof):
    """4,096 of them by the compiler for v5p: nothing of siglip is as large as own rows times everyone's."""
    clip, siglip = (shapes_in(compiled(loss, "manual", 4096, "v5p:2x2x2")) for loss in ("clip", "siglip"))
    require_pieces(4096, clip, siglip)
    largest = max(map(math.prod, siglip))
    proof("largest array of siglip, numbers on a chip", largest)
    assert largest < 512 * 4096


@pytest.mark.parametrize("partitioning", ["auto", "manual"])
def test_the_ring_is_no_loop_on_a_cpu(partitioning):
    """Beside a loop of collectives XLA's CPU client loses the order of others, and devices wait for ever."""
    assert compiled("siglip", partitioning).count(" collective-permute(") >= 2 * (8 - 1)


def test_pieces_change_nothing_and_hold_no_more(monkeypatch):
    """siglip on one device, its texts in pieces that do not divide them: the same, without PAIRS x PAIRS."""
    given = jax.tree.map(jnp.asarray, batch_of(PAIRS, PAIRS - 1))

    def sums(images, texts, log_scale, bias):
        term = contrast.siglip(images / 4, texts / 4, given["weight"], log_scale, bias, OneDevice())
        return jnp.sum(term.loss_B * given["weight"]), term

    arguments = given["image"], given["text"], jnp.float32(1.0), jnp.float32(-2.0)

    def gradient():
        return jax.jit(jax.value_and_grad(sums, (0, 1, 2, 3), has_aux=True)).lower(*arguments).compile()

    whole = gradient()
    monkeypatch.setattr(contrast, "PIECE", 10)
    pieces = gradient()
    close(pieces(*arguments), jax.device_get(whole(*arguments)))
    assert (PAIRS, PAIRS) in shapes_in(whole.as_text())
    assert (PAIRS, PAIRS) not in shapes_in(pieces.as_text())
