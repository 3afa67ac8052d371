"""The user's cache folder: what can be made again, below $XDG_CACHE_HOME/pangu_jax. No JAX."""

import os
from pathlib import Path


def folder() -> Path:
    """$XDG_CACHE_HOME/pangu_jax, or ~/.cache/pangu_jax; it need not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pangu_jax"
