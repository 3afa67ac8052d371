"""Where compiled programs are kept, so that the next process need not compile them again."""

import jax

from tpu_npu_backends import user_cache

# JAX keeps programs that took a second; six that take less, a second in all, stand before the first token.
KEPT_FROM = 0.05  # seconds of compiling


def use() -> None:
    """Compiled programs outlive the process, unless the user has said where or whether."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(user_cache.folder() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", KEPT_FROM)
