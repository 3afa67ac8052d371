"""Making platform `npu` known to JAX. There is no public way: this is all that touches JAX's own modules."""

import atexit

import jax
from jax._src import xla_bridge
from jax._src.interpreters import mlir

from tpu_npu_backends.ascend import modes
from tpu_npu_backends.ascend.plugin import PLATFORM, callbacks, foreign_functions, hooks, library
from tpu_npu_backends.errors import BackendError

# Where priorities decide (no JAX_PLATFORMS), after CPU, which has 0.
_PRIORITY = -100


def register() -> None:
    """Loads the plugin and registers it, or registers a platform that says what is wrong when it starts."""
    try:
        loaded = library.load()
        watcher = modes.watcher(modes.current())
        _lower_with_donation()
    except BackendError as error:
        _register_refusal(str(error))
        return
    if watcher is None:
        hooks.install(loaded, callbacks.call)
    else:
        hooks.install(loaded, callbacks.call, watcher.compiled, watcher.executed)
        # A program from the cache is never compiled, so never seen.
        jax.config.update("jax_enable_compilation_cache", False)
    # Programs may run and end after the interpreter has: nobody is left to call.
    atexit.register(hooks.remove, loaded)
    xla_bridge.register_plugin(PLATFORM, library_path=str(library.path()), priority=_PRIORITY)
    callbacks.register()
    foreign_functions.register(loaded)


def _lower_with_donation() -> None:
    """JAX lowers donated arguments as such for the platforms of one list only."""
    platforms = getattr(mlir, "_platforms_with_donation", None)
    if platforms is None:
        raise BackendError(
            f"jax {jax.__version__} keeps its list of platforms that donate elsewhere than the versions that "
            "platform npu knows (0.10.2 to 0.12): pip install 'pangu-jax[ascend]' takes one that fits"
        )
    if PLATFORM not in platforms:
        platforms.append(PLATFORM)


def _register_refusal(why: str) -> None:
    def refuse() -> None:
        raise RuntimeError(why)

    xla_bridge.register_backend_factory(PLATFORM, refuse, priority=_PRIORITY, fail_quietly=False)
