"""Several devices: placing, partitioning by jit, and collectives by shard_map."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

_BLOCKS = P("data", "model")
_X = np.arange(64, dtype=np.float32).reshape(8, 8) / 64


def _mesh(devices, shape=(4, 2)) -> Mesh:
    both = (AxisType.Auto,) * 2
    return Mesh(np.array(devices[:8]).reshape(shape), ("data", "model"), axis_types=both)


def _placed(devices, spec, x=_X):
    return jax.device_put(x, NamedSharding(_mesh(devices), spec))


def _mapped(devices, function, out=_BLOCKS):
    """A collective on blocks of [2, 4]."""
    mesh = _mesh(devices)
    run = jax.shard_map(function, mesh=mesh, in_specs=P("data", "model"), out_specs=out, check_vma=False)
    return jax.jit(run)(_X)


def eight_devices(devices):
    return len(devices) >= 8, len({device.id for device in devices})


def put_on_a_device(devices):
    x = jax.device_put(_X, devices[3])
    return x.devices() == {devices[3]}, x + 1


def between_devices(devices):
    return jax.device_put(jax.device_put(_X, devices[1]), devices[5]) * 2


def from_cpu(devices):
    return jax.device_put(jax.device_put(_X, jax.devices("cpu")[0]), devices[2]) * 2


def shards(devices):
    x = _placed(devices, P("data", "model"))
    return [np.asarray(shard.data) for shard in x.addressable_shards]


def replicated(devices):
    x = _placed(devices, P("data", None))
    return x.sharding.is_fully_replicated, len(x.addressable_shards), x


def resharded(devices):
    mesh = _mesh(devices)
    return jax.device_put(_placed(devices, P("data", "model")), NamedSharding(mesh, P("model", "data")))


def partitioned_matmul(devices):
    return jax.jit(lambda x, w: x @ w)(
        _placed(devices, P("data", "model")), _placed(devices, P("model", None))
    )


def partitioned_gradient(devices):
    loss = jax.jit(jax.grad(lambda w, x: jnp.tanh(x @ w).sum()))
    return loss(_placed(devices, P("data", "model")), _placed(devices, P("data", None)))


def sharding_constraint(devices):
    to = NamedSharding(_mesh(devices), P("model", None))
    y = jax.jit(lambda x: jax.lax.with_sharding_constraint(jnp.sin(x), to))(_placed(devices, P("data")))
    return str(y.sharding.spec), y


def partitioned_sort(devices):
    return jax.jit(lambda x: jnp.sort(x, 0))(_placed(devices, P("data", "model"), -_X))


def partitioned_random(devices):
    to = NamedSharding(_mesh(devices), P("data", "model"))
    return jax.jit(lambda k: jax.random.normal(k, (8, 8)), out_shardings=to)(jax.random.key(0))


def explicit_sharding(devices):
    mesh = Mesh(np.array(devices[:8]), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        return jax.jit(lambda x: x * 2)(jax.device_put(_X, P("data", None)))


def psum(devices):
    return _mapped(devices, lambda x: jax.lax.psum(x, "data"), P(None, "model"))


def pmax(devices):
    return _mapped(devices, lambda x: jax.lax.pmax(x, ("data", "model")), P(None, None))


def all_gather(devices):
    return _mapped(devices, lambda x: jax.lax.all_gather(x, "model", axis=1, tiled=True), P("data", None))


def reduce_scatter(devices):
    return _mapped(devices, partial(jax.lax.psum_scatter, axis_name="model", tiled=True))


def ppermute(devices):
    ring = [(i, (i + 1) % 4) for i in range(4)]
    return _mapped(devices, lambda x: jax.lax.ppermute(x, "data", ring))


def all_to_all(devices):
    return _mapped(devices, lambda x: jax.lax.all_to_all(x, "model", 0, 1, tiled=True))


def axis_index(devices):
    return _mapped(devices, lambda x: x + jax.lax.axis_index("data") * 2 + jax.lax.axis_index("model"))


def gradient_through_collectives(devices):
    mesh = _mesh(devices)
    run = jax.shard_map(
        lambda x: jax.lax.psum(jnp.sin(x).sum(), ("data", "model")),
        mesh=mesh,
        in_specs=P("data", "model"),
        out_specs=P(),
    )
    return jax.jit(jax.grad(run))(_X)


CHECKS = (
    *(eight_devices, put_on_a_device, between_devices, from_cpu, shards, replicated, resharded),
    *(partitioned_matmul, partitioned_gradient, sharding_constraint, partitioned_sort, partitioned_random),
    *(explicit_sharding, psum, pmax, all_gather, reduce_scatter, ppermute, all_to_all, axis_index),
    gradient_through_collectives,
)
