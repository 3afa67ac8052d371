"""Planning towers of unequal width without a vocabulary to predict: by hand, and beside compiled programs."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import AXES, Layout
from pangu_jax.planner import cost, planner, predictions
from pangu_jax.planner.axis_costs import axis_costs
from pangu_jax.workloads.shape import Attention, Product, Shape, Tower
from tests.planner.two_towers import TwoTowers
from tpu_npu_backends import compiling, topologies

BATCH = 8
SMALL = TwoTowers()
# A ViT-L/16 in windows of 7 x 7 patches, and CLIP's vocabulary under a narrower text tower.
LARGE = TwoTowers(
    pixels=224, patch=16, window=7, width=1024, heads=16, layers=24, text_length=64, vocabulary=49408,
    text_width=512, text_heads=8, text_layers=12, embedding=512,
)  # fmt: skip


def predicted(model: TwoTowers, topology: str, layout: Layout, batch: int = BATCH) -> predictions.Prediction:
    planned = predictions.describe(model, batch, optimizer_bytes=8.0)
    return predictions.predict(planned, topologies.parse(topology), layout)


@pytest.fixture(scope="module")
def compiled():
    """layers -> the gradient of the small model for one device; each is compiled once."""
    one, programs = topologies.parse("cpu:1"), {}

    def of(layers: int):
        if layers not in programs:
            model = SMALL._replace(layers=layers)
            params = jax.eval_shape(model.init, jax.random.key(0))
            programs[layers] = compiling.compile_for(
                one, jax.jit(jax.grad(model.loss)).lower(params, model.batch(BATCH))
            )
        return programs[layers]

    return of


def test_parameters_and_flops_by_hand():
    shape, batch = LARGE.shape(), 4096
    vision, text, table = 12 * 1024**2, 12 * 512**2, 49408 * 512
    patches, heads = 3 * 16 * 16 * 1024, 1024 * 512 + 512 * 512
    assert shape.parameters == 24 * vision + 12 * text + table + patches + heads == 366_608_384
    places, seen, length = 14 * 14, 7 * 7, 64
    forward = 24 * (2 * vision * places + 4 * 1024 * places * seen)
    forward += 12 * (2 * text * length + 4 * 512 * length * length)
    forward += 2 * heads + 2 * batch * 512  # each picture with all texts of the batch
    first = 2 * patches * places  # pixels want no gradient: two products, not three
    assert shape.flops(batch) == batch * (3 * forward + 2 * first)


def test_flops_are_those_of_the_compiled_gradient(compiled):
    """Remat runs each layer forward again, all but its last product, which nobody asks for."""
    found = cost.report(compiled(2).as_text(), topologies.parse("cpu:1"), {"data": 1})
    again = sum(
        t.layers * (t.flops - 2.0 * t.products[-1].parameters * t.tokens) for t in SMALL.shape().towers
    )
    assert found.matmul_flops == SMALL.shape().flops(BATCH) + BATCH * again
    assert not found.notes


def test_bytes_are_those_of_the_compiled_gradient(compiled):
    memory = {
        layers: predicted(SMALL._replace(layers=layers), "cpu:1", Layout(data=1, remat="full")).memory
        for layers in (2, 4)
    }
    analysed = compiled(2).memory_analysis()
    pictures, texts = 4 * BATCH * 64 * 48, 4 * BATCH * 24
    assert analysed.argument_size_in_bytes == memory[2]["parameters"] + pictures + texts
    # fp32 pictures as they came, and as the projection took them.
    assert memory[2]["buffers"] == 2 * pictures
    # What waits for the backward pass grows by the inputs of two layers, of the wide tower alone.
    grown = compiled(4).memory_analysis().temp_size_in_bytes - analysed.temp_size_in_bytes
    assert grown == memory[4]["activations"] - memory[2]["activations"] == 2 * 4 * BATCH * 64 * 64


def test_bytes_sent_are_those_of_the_compiled_gradient_on_two_devices():
    """Embeddings gathered for the contrast and their gradients scattered, gradients of weights added up."""
    topology = topologies.parse("cpu:2")
    devices = topologies.devices(topology)[:2]
    mesh = Mesh(np.array(devices), ("data",))

    def gradient(params, batch):
        gather = lambda z_BxE: jax.lax.all_gather(z_BxE, "data", axis=0, tiled=True)  # noqa: E731
        return jax.lax.psum(jax.grad(SMALL.loss)(params, batch, gather), "data")

    step = jax.shard_map(gradient, mesh=mesh, in_specs=(P(), P("data")), out_specs=P(), check_vma=False)
    params, batch = (
        jax.tree.map(lambda leaf, to=to: leaf.update(sharding=NamedSharding(mesh, to)), tree)
        for tree, to in (
            (jax.eval_shape(SMALL.init, jax.random.key(0)), P()),
            (SMALL.batch(BATCH), P("data")),
        )
    )
    text = compiling.compile_for(topology, jax.jit(step).lower(params, batch)).as_text()
    found = cost.report(text, topology, {"data": 2}, [device.id for device in devices])
    sent = {collective.kind: collective.bytes for collective in found.collectives}
    embeddings = 4 * BATCH * SMALL.embedding
    gradients = 4 * SMALL.shape().parameters
    assert sent == {"all-gather": embeddings / 2, "reduce-scatter": embeddings / 2, "all-reduce": gradients}

    link = axis_costs(topology, dict.fromkeys(AXES, 1) | {"data": 2})["data"]
    seconds = predicted(SMALL, "cpu:2", Layout(data=2)).collectives["data"] - 4 * link.latency_s
    assert seconds / link.seconds_per_byte / 2 == pytest.approx(sum(sent.values()))


def test_ends_are_stored_over_the_axes_that_split_them():
    """Layers and the table over fsdp and model; what is not split, over fsdp alone."""
    memory = predicted(LARGE, "v5p:2x2x2", Layout(data=2, fsdp=2, model=2), 64).memory
    split = 24 * 12 * 1024**2 + 12 * 12 * 512**2 + 49408 * 512
    whole = 768 * 1024 + 1024 * 512 + 512 * 512
    assert memory["parameters"] == 4 * (split / 4 + whole / 2)
    assert memory["optimizer"] == 2 * memory["parameters"]


@pytest.mark.parametrize(
    ("layout", "largest", "split"),
    [(Layout(data=1), 128 * 32, 1), (Layout(data=1, model=2), 48 * 64, 2)],
    ids=["table", "patches, whole where the table is split"],
)
def test_ends_take_memory(layout, largest, split):
    """The largest and its gradients; the wider head, for own examples alone; similarities with all texts."""
    memory = predicted(SMALL, f"cpu:{split}", layout).memory
    head = BATCH / split * (16 * 2 * 4 + 64 * 3 * 4)
    similarities = BATCH * BATCH * (8 + 4) + BATCH * 16 * 2 * 4
    assert memory["vocabulary"] == largest * (2 * 4 + 4) + head + similarities


def test_pixels_want_no_gradient():
    """Two products of three, in time as in FLOPs."""
    shape = LARGE.shape()

    def seconds(kind: str) -> float:
        ends = (shape.ends[0]._replace(kind=kind), *shape.ends[1:])
        model = predictions.PlannedModel("two towers", shape._replace(ends=ends), {}, 1.0, 64)
        return predictions.predict(model, topologies.parse("v5p:1x1x1"), Layout(data=1)).compute_s

    none, two, three = (seconds(kind) for kind in ("lookup", "input", "product"))
    assert 0 < two - none == pytest.approx(2 / 3 * (three - none))


def test_a_contrast_takes_time():
    """Similarities of each example with the whole batch, and the embeddings gathered for them, both ways."""
    topology, batch, shape = topologies.parse("v5p:2x2x1"), 4096, LARGE.shape()
    layout = Layout(data=2, fsdp=2)
    links = axis_costs(topology, dict.fromkeys(AXES, 1) | {"data": 2, "fsdp": 2})
    with_it, without = (
        predictions.predict(
            predictions.PlannedModel("two towers", shape._replace(contrast_width=width), {}, 1.0, batch),
            topology,
            layout,
        )
        for width in (512, 0)
    )
    embeddings = 2 * batch * 512
    for axis, gathered in (("fsdp", embeddings), ("data", embeddings / 2)):
        more = with_it.collectives[axis] - without.collectives[axis]
        link = links[axis]
        assert more == pytest.approx(2 * (link.latency_s + gathered * link.seconds_per_byte))
    pairs, chip = batch / 4 * batch, topology.chip
    least = 3 * 2 * pairs * 512 / chip.peak_flops + 6 * 4 * pairs / chip.hbm_bytes_per_s
    assert least < with_it.compute_s - without.compute_s < 1.2 * least


def test_windows_of_other_devices_are_not_asked_for():
    """Over `sequence` the texts gather their keys, once per layer and pass; windows lie whole on a device."""
    layout = Layout(data=1, sequence=2)
    link = axis_costs(topologies.parse("cpu:2"), dict.fromkeys(AXES, 1) | {"sequence": 2})["sequence"]

    def seconds(model: TwoTowers) -> float:
        added = 2 * (4 * model.shape().parameters * link.seconds_per_byte + link.latency_s)
        return predicted(model, "cpu:2", layout).collectives["sequence"] - added

    texts = 3 * SMALL.text_layers * (link.latency_s + 4 * BATCH * 2 * 24 * 32 * link.seconds_per_byte)
    assert seconds(SMALL) == pytest.approx(texts)
    whole = SMALL._replace(window=8)  # one window, of all places
    pictures = 3 * SMALL.layers * (link.latency_s + 4 * BATCH * 2 * 64 * 64 * link.seconds_per_byte)
    assert seconds(whole) == pytest.approx(texts + pictures)


def test_scores_take_memory_by_window():
    """Without remat every layer of pictures keeps its scores: 64 places by 16 of a window, or by all 64."""
    kept = [
        predicted(SMALL._replace(window=window), "cpu:1", Layout(data=1)).memory["activations"]
        for window in (4, 8)
    ]
    assert kept[1] - kept[0] == SMALL.layers * 4 * BATCH * SMALL.heads * 64 * (64 - 16)


def test_a_memory_has_the_width_of_its_tower():
    """A decoder of texts that looks at pictures twice as wide holds what it looks at, and its gradient."""
    cross = (
        Product(32, 32, 24, "columns", saved=True),
        Product(64, 2 * 32, 64, "columns", saved=True),
        Product(32, 32, 24, "rows", saved=False),
    )
    _, text = SMALL.shape().towers
    looks = (*text.attentions, Attention(2, 16, 24, 64, causal=False, plain=False))
    without = Tower("decoder", 3, 24, 32, (*text.products, *cross), looks, 3)
    memories = []
    for width in (0, 32, 64):
        decoder = without._replace(memory_tokens=64, memory_width=width)
        model = predictions.PlannedModel("decoder", Shape((decoder,)), {}, 1.0, BATCH)
        one = predictions.predict(model, topologies.parse("cpu:1"), Layout(data=1))
        memories.append(one.memory["working"])
    assert memories[1] - memories[0] == 2 * 4 * BATCH * 64 * 32
    assert memories[2] - memories[0] == 2 * (memories[1] - memories[0])


def test_a_layout_divides_each_tower():
    dimensions = LARGE.dimensions()
    for layout, name, what in (
        (Layout(data=1, fsdp=1024), "Layout.fsdp", "text embed 512 is not divisible by fsdp 1024"),
        (Layout(data=1, model=16), "Layout.model", "text heads 8 is not divisible by model 16"),
        (Layout(data=1, sequence=8), "Layout.sequence", "vision length 196 is not divisible by sequence 8"),
    ):
        assert (name, what) in layouts.check(layout, 1024, dimensions)
    assert layouts.check(Layout(data=2, fsdp=512, model=8), 1024, dimensions) == []


def test_weights_whose_shards_look_whole_are_gathered_by_the_compiler():
    """By hand a whole weight is known by its width; a shard of 1024 over 2 is as wide as the other tower."""
    by_hand = Layout(data=1, fsdp=2, partitioning="manual")
    (problem,) = layouts.check(by_hand, 1024, LARGE.dimensions())
    said = "'manual' with fsdp 2: a shard of one of the widths 512, 1024 is as wide as another; use 'auto'"
    assert problem == ("Layout.partitioning", said)
    assert layouts.check(Layout(data=1, fsdp=4, partitioning="manual"), 1024, LARGE.dimensions()) == []
    one_width = LARGE.dimensions() | {"text_embed": 1024}
    assert layouts.check(by_hand, 1024, one_width) == []
    assert layouts.check(Layout(data=2, partitioning="manual"), 1024, LARGE.dimensions()) == []


def test_the_search_plans_it():
    topology = topologies.parse("v5p:4x4x4")
    model = predictions.describe(LARGE, 4096, optimizer_bytes=8.0)
    ranking = planner.search(model, topology, top=5).ranking
    piped = planner.search(model, topology, top=5, fixed={"stage": 4}).ranking
    assert len(ranking) == len(piped) == 5
    for found in ranking + piped:
        assert layouts.check(found.layout, 4096, model.dimensions) == []
        assert found.layout.partitioning == ("auto" if found.layout.fsdp == 2 else "manual")
        assert 0 < found.mfu < 1 and found.bytes_per_device < topology.chip.hbm_bytes
    assert all(0 < found.bubble < 1 for found in piped)
