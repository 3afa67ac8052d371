"""Where compiled programs are kept, so that the next process need not compile them again."""

import os
from pathlib import Path

import jax


def use() -> None:
    """Compiled programs outlive the process, unless the user has said where or whether."""
    if jax.config.jax_compilation_cache_dir is None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "pangu_jax" / "xla"))
