"""The table of logical axes: what it knows, what it says of what it does not, and a batch split in space."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from pangu_jax.errors import UserError
from pangu_jax.parallel import rules
from pangu_jax.parallel.layout import DIVIDED_BY, Layout
from pangu_jax.parallel.mesh import RINGS, make_mesh

AXES_OF_ISSUE = ("channel", "class", "patch", "window", "level", "latitude", "longitude", "expert")


@pytest.mark.parametrize("axis", AXES_OF_ISSUE)
def test_weights_and_activations_of_every_family_have_their_axes(axis):
    mesh = make_mesh(Layout(data=2, fsdp=2, model=2))
    for spec in (rules.storage_spec((axis,)), rules.compute_spec((axis,)), rules.activation_spec((axis,))):
        assert rules.axes_of(spec) <= set(mesh.axis_names)


def test_a_projection_of_patches_is_stored_along_its_width_and_used_whole():
    axes = ("patch", "embed")
    assert rules.storage_spec(axes) == P(None, RINGS)
    assert rules.compute_spec(axes) == P(None, None)


@pytest.mark.parametrize(
    ("axis", "ending"),
    [("pach", "; did you mean 'patch'?"), ("Embed", "; did you mean 'embed'?"), ("spin", "")],
)
def test_an_unknown_axis_of_a_parameter_is_one_line(axis, ending):
    mesh = make_mesh(Layout())
    axes = {"vision": {"patches": {"kernel": (axis, "embed"), "bias": ("embed",)}}}
    with pytest.raises(UserError) as caught:
        rules.storage_shardings(mesh, axes)
    line = str(caught.value)
    assert f"'{axis}'" in line and "vision/patches/kernel" in line and ending in line
    assert "\n" not in line and ("did you mean" in line) == bool(ending)


@pytest.mark.parametrize(
    "spec_of", [rules.storage_spec, rules.compute_spec, rules.activation_spec, rules.batch_spec]
)
def test_an_unknown_axis_is_one_line_wherever_it_is_asked_for(spec_of):
    with pytest.raises(UserError, match=r"no logical axis 'lattitude'.*; did you mean 'latitude'"):
        spec_of(("lattitude",))


def test_a_batch_is_split_by_examples_alone_unless_it_says_more():
    mesh = make_mesh(Layout(data=2, expert=2, sequence=2))
    assert rules.batch_sharding(mesh).spec == P(("data", *RINGS, "expert"))
    assert rules.batch_sharding(mesh).shard_shape((8, 6, 10)) == (2, 6, 10)


def test_fields_are_split_in_space():
    """[batch, level, latitude, longitude, channel] over 2 x 2 devices for examples and 2 for longitudes."""
    mesh = make_mesh(Layout(data=2, fsdp=2, sequence=2))
    sharding = rules.batch_sharding(mesh, ("batch", "level", "latitude", "longitude", "channel"))
    shape = (8, 3, 6, 10, 5)
    assert sharding.shard_shape(shape) == (2, 3, 6, 5, 5)
    field = jnp.arange(8 * 3 * 6 * 10 * 5, dtype=jnp.float32).reshape(shape)
    placed = jax.device_put(field, sharding)
    for shard in placed.addressable_shards:
        assert shard.data.shape == (2, 3, 6, 5, 5)
        assert (shard.data == field[shard.index]).all()


def test_what_the_rules_split_is_what_a_layout_must_divide():
    """A dimension that a rule splits and no check divides would end in a traceback of JAX."""
    split = {}
    for logical in rules.RULES.keys() | rules.ACTIVATION_RULES.keys() - {"batch"}:
        specs = [table.get(logical) for table in (rules.ACTIVATION_RULES, *_sides(rules.RULES))]
        axes = set().union(*(rules.axes_of(P(spec)) for spec in specs))
        if axes:
            split[logical] = axes
    assert split == {
        logical: set(RINGS) if axis == "fsdp" else {axis} for logical, axis in DIVIDED_BY.items()
    }


def _sides(table):
    return ({axis: pair[side] for axis, pair in table.items()} for side in (0, 1))
