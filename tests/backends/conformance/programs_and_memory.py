"""Programs as data, memory, callbacks, and tools that look inside."""

import contextlib
import io
import logging
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback, serialize_executable
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

_X = np.arange(12, dtype=np.float32).reshape(3, 4)


def _doubled(x):
    return x * 2 + 1


def lower_and_compile(devices):
    return jax.jit(_doubled).lower(_X).compile()(_X)


def export(devices):
    exported = jax.export.export(jax.jit(_doubled), platforms=[devices[0].platform])(_X)
    return jax.export.deserialize(exported.serialize()).call(_X)


def serialized_executable(devices):
    x = jax.device_put(_X, devices[0])
    written = serialize_executable.serialize(jax.jit(_doubled).lower(x).compile())
    backend = devices[0].client
    return serialize_executable.deserialize_and_load(*written, backend, execution_devices=devices[:1])(x)


_CACHE = {
    "jax_compilation_cache_dir": None,
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def compilation_cache(devices):
    """A second compilation of a program reads what the first wrote."""
    before = {name: getattr(jax.config, name) for name in _CACHE}
    with tempfile.TemporaryDirectory() as folder:
        _use_cache(_CACHE | {"jax_compilation_cache_dir": folder})
        try:
            first = jax.jit(lambda x: x * 3 + 5)(_X)
            written = len(list(Path(folder).glob("*-cache")))
            second = jax.jit(lambda x: x * 3 + 5)(_X)
            return written > 0, len(list(Path(folder).glob("*-cache"))) == written, first, second
        finally:
            _use_cache(before)


def _use_cache(settings):
    for name, value in settings.items():
        jax.config.update(name, value)
    reset_cache()


def compiler_options(devices):
    options = {"xla_embed_ir_in_executable": True}
    return jax.jit(_doubled, compiler_options=options)(_X)


def optimized_text(devices):
    return "ENTRY" in jax.jit(_doubled).lower(_X).compile().as_text()


def cost_analysis(devices):
    return jax.jit(jnp.dot).lower(_X, _X.T).compile().cost_analysis()["flops"] > 0


def memory_analysis(devices):
    sizes = jax.jit(_doubled).lower(_X).compile().memory_analysis()
    return sizes.argument_size_in_bytes, sizes.output_size_in_bytes


def donation(devices):
    x = jax.device_put(_X, devices[0])
    y = jax.jit(_doubled, donate_argnums=0)(x)
    return x.is_deleted(), y


def donation_of_shards(devices):
    x = jax.device_put(np.ones((8, 4), np.float32), NamedSharding(Mesh(np.array(devices[:8]), "i"), P("i")))
    y = jax.jit(_doubled, donate_argnums=0)(x)
    return x.is_deleted(), y


def deletion(devices):
    x = jax.device_put(_X, devices[0]) + 0
    x.delete()
    return x.is_deleted()


def host_memory_is_copied(devices):
    """An array does not change when the NumPy array it was made of does."""
    host = _X.copy()
    x = jnp.array(host, device=devices[0])
    host[:] = 0
    return x


def memory_statistics(devices):
    """Only that they add up: CPU keeps none, which passes too."""
    before = devices[1].memory_stats()
    kept = jax.device_put(np.ones(1000, np.float32), devices[1]).block_until_ready()
    after = devices[1].memory_stats()
    return before is None or after["bytes_in_use"] - before["bytes_in_use"] == kept.nbytes


def memory_kinds(devices):
    return devices[0].default_memory().kind, "pinned_host" in {
        m.kind for m in devices[0].addressable_memories()
    }


def host_offload(devices):
    x = jax.device_put(_X, SingleDeviceSharding(devices[0], memory_kind="pinned_host"))
    back = jax.device_put(x, SingleDeviceSharding(devices[0], memory_kind="device"))
    return x.sharding.memory_kind, back


def offload_in_jit(devices):
    host = SingleDeviceSharding(devices[0], memory_kind="pinned_host")
    device = SingleDeviceSharding(devices[0], memory_kind="device")
    x = jax.device_put(_X, host)
    return jax.jit(lambda v: jax.device_put(v, device) * 2, out_shardings=device)(x)


def live_arrays(devices):
    x = jax.device_put(_X, devices[0])
    return any(x is one for one in jax.live_arrays(devices[0].platform))


def dlpack(devices):
    return np.from_dlpack(jax.device_put(_X, devices[0]))


def pure_callback(devices):
    shape = jax.ShapeDtypeStruct(_X.shape, _X.dtype)
    return jax.jit(lambda x: jax.pure_callback(lambda v: np.asarray(v) * 2, shape, x))(_X)


def ordered_io_callback(devices):
    seen = []
    jax.jit(lambda x: io_callback(lambda v: seen.append(float(v)), None, x[0, 1], ordered=True))(_X)
    jax.effects_barrier()
    return seen


def debug_callback(devices):
    seen = []
    jax.jit(lambda x: jax.debug.callback(lambda v: seen.append(float(v)), x[0, 1]))(_X)
    jax.effects_barrier()
    return seen


def debug_print(devices):
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        jax.jit(lambda x: jax.debug.print("{}", x[0, 1]))(_X)
        jax.effects_barrier()
    return written.getvalue() == "1.0\n"


def failing_callback(devices):
    """Its error is the caller's, and the next program runs."""

    def fail(value):
        raise ArithmeticError("planted")

    logging.getLogger("jax._src.callback").addFilter(_planted)
    try:
        shape = jax.ShapeDtypeStruct(_X.shape, _X.dtype)
        jax.jit(lambda x: jax.pure_callback(fail, shape, x))(_X).block_until_ready()
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        return "planted" in str(error), jax.jit(_doubled)(_X)
    finally:
        logging.getLogger("jax._src.callback").removeFilter(_planted)
    return False


def _planted(record):
    return "callback failed" not in record.getMessage()


def callback_on_each_shard(devices):
    mesh = Mesh(np.array(devices[:8]), "i")
    shape = jax.ShapeDtypeStruct((1, 4), np.float32)
    run = jax.shard_map(
        lambda x: jax.pure_callback(lambda v: np.asarray(v) * 3, shape, x),
        mesh=mesh,
        in_specs=P("i"),
        out_specs=P("i"),
    )
    return jax.jit(run)(np.ones((8, 4), np.float32))


def foreign_function(devices):
    """A function that jaxlib registered under a name, called from a program: Cholesky of LAPACK."""
    jnp.linalg.cholesky(
        jax.device_put(np.eye(2), jax.devices("cpu")[0])
    )  # jaxlib loads LAPACK when it lowers
    shapes = jax.ShapeDtypeStruct((2, 2), np.float32), jax.ShapeDtypeStruct((), np.int32)
    factor = jax.ffi.ffi_call("lapack_spotrf_ffi", shapes)
    lower, info = jax.jit(lambda x: factor(x, uplo=np.uint8(ord("L"))))(2 * np.eye(2, dtype=np.float32))
    return jnp.diag(lower), info


def debug_nans(devices):
    with jax.debug_nans(True):
        try:
            jax.jit(jnp.log)(-jnp.ones(3))
        except FloatingPointError:
            return True
    return False


def profiler(devices):
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(jax.jit(_doubled)(_X))
        return any(Path(folder).rglob("*.xplane.pb"))


def error_in_words(devices):
    """A program that cannot be compiled raises, and the next one runs."""
    try:
        jax.jit(_doubled, compiler_options={"no_such_option": "1"})(_X)
    except jax.errors.JaxRuntimeError as error:
        return "no_such_option" in str(error), jax.jit(_doubled)(_X)
    return False


CHECKS = (
    *(lower_and_compile, export, serialized_executable, compilation_cache, compiler_options, optimized_text),
    *(cost_analysis, memory_analysis, donation, donation_of_shards, deletion, host_memory_is_copied),
    *(memory_statistics, memory_kinds, host_offload, offload_in_jit, live_arrays, dlpack, pure_callback),
    *(
        ordered_io_callback,
        debug_callback,
        debug_print,
        failing_callback,
        callback_on_each_shard,
        foreign_function,
        debug_nans,
        profiler,
        error_in_words,
    ),
)
