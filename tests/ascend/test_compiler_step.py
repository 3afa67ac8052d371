"""Proof: a whole train step of Pangu NLP as Ascend kernels, its numbers and its compile time."""

import statistics
import time
from importlib.util import find_spec

import jax
import numpy as np
import pytest

from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import step
from pangu_jax.training.compiling import lower_step
from pangu_jax.training.optimizers import adamw
from pangu_jax.training.schedules import cosine_schedule
from pangu_jax.workloads import NOTHING
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from tpu_npu_backends.ascend import compiler

pytestmark = [
    pytest.mark.prove,
    pytest.mark.skipif(find_spec("ascendnpuir") is None, reason="ascendnpu-ir is not installed"),
]

BATCH, LENGTH, VOCABULARY = 2, 32, 256


class Windows:
    """What the workload needs to know of a corpus, without one."""

    encoder_length, decoder_length, vocabulary_size = LENGTH, LENGTH, VOCABULARY
    task_names = ("span", "prefix", "causal")


def lowered_step(dtype: str):
    """The quickstart's step, small, its workload and its optimizer."""
    model = EncoderDecoderConfig(
        vocab_size=VOCABULARY,
        d_model=64,
        d_ff=128,
        heads=4,
        encoder_layers=1,
        decoder_layers=1,
        unroll=1,
    )
    workload = LanguageModel(model=model, data=Windows())
    optimizer = adamw(cosine_schedule(steps=700, learning_rate=3e-3, warmup=50))
    devices = jax.devices("cpu")[:1]
    lowered = lower_step(workload, optimizer, Layout(compute_dtype=dtype), BATCH, devices, "cpu")
    return lowered, workload, optimizer


def arguments_of(workload, optimizer):
    """A state in the middle of a run, and a batch, as NumPy arrays; and their tree."""
    draw = np.random.default_rng(0)
    mesh = make_mesh(Layout().on(1), jax.devices("cpu")[:1])
    state = step.init_state(workload, optimizer, mesh, 0)
    moments = jax.tree.map(
        lambda x: np.asarray(draw.random(x.shape) * 1e-3 if x.ndim else 3, x.dtype), state.opt_state
    )
    state = state._replace(step=np.int32(3), opt_state=moments)
    batch = {}
    for name, shape in workload.batch_shapes(BATCH).items():
        if "tokens" in name:
            values = draw.integers(1, VOCABULARY, shape.shape)
        elif "segment" in name:
            values = np.sort(draw.integers(1, 3, shape.shape), axis=1)
        elif "positions" in name:
            values = np.tile(np.arange(LENGTH), (BATCH, 1))
        elif name == "task_id":
            values = draw.integers(0, 3, shape.shape)
        else:
            values = draw.random(shape.shape) < 0.9
        batch[name] = values.astype(shape.dtype)
    leaves, tree = jax.tree.flatten((state, batch, NOTHING))
    return [np.array(leaf) for leaf in leaves], tree


@pytest.mark.parametrize(("dtype", "bar"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_the_step_compiles_whole_and_agrees_with_xla(dtype, bar, tmp_path, proof):
    """Outputs hold the parameters, AdamW's moments (with them every gradient) and the metrics."""
    lowered, workload, optimizer = lowered_step(dtype)
    text = lowered.as_text(debug_info=True)
    began = time.monotonic()
    program = compiler.compile_program(text, cache_dir=tmp_path)
    cold = time.monotonic() - began
    began = time.monotonic()
    warm_report = compiler.compile_program(text, cache_dir=tmp_path).report
    warm = time.monotonic() - began
    report = program.report
    proof("kernels", report["kernels"])
    proof("kernels refused on the way", report["compiler_runs"] - report["kernels"])
    proof("share of FLOPs in kernels", report["flops_covered"])
    proof("ops left to the host", sum(left["count"] for left in report["host_ops"]))
    proof("cold, s", cold)
    proof("warm, s", warm)
    proof("a kernel, median s", report["kernel_seconds"]["median"])

    leaves, tree = arguments_of(workload, optimizer)
    made = program.run(leaves)
    state, batch, _ = jax.tree.unflatten(tree, [jax.numpy.array(leaf) for leaf in leaves])
    # There are no constants, and without dropout nothing is drawn: the key is no argument of the program.
    expected = lowered.compile()(state, batch, {}, jax.random.key(0))
    paths, expected = zip(*jax.tree_util.tree_flatten_with_path(expected)[0], strict=True)
    apart = {}
    for path, mine, theirs in zip(paths, made, expected, strict=True):
        theirs = np.asarray(theirs)
        assert mine.shape == theirs.shape and np.array_equal(np.isnan(mine), np.isnan(theirs)), path
        mine, theirs = (np.nan_to_num(np.asarray(x, np.float64)) for x in (mine, theirs))
        scale = np.linalg.norm(theirs)
        apart[jax.tree_util.keystr(path)] = np.linalg.norm(mine - theirs) / scale if scale else 0.0
    proof("largest relative difference from XLA", float(max(apart.values())))
    proof("median relative difference", float(statistics.median(apart.values())))

    assert max(apart.values()) <= bar, max(apart, key=apart.get)
    assert report["products_compiled"] == report["products"] > 50
    assert report["flops_covered"] >= 0.95 and report["kernels_unchecked"] == 0
    assert warm_report["compiler_runs"] == 0
    assert cold <= 120 and warm <= 10
    assert report["kernel_seconds"]["median"] <= 0.5
