"""What NVIDIA's GPUs compute with: float32 that is float32, bfloat16 where there is one, the same bits again.

None of it has run on a GPU here: what an option does is seen in compiled programs.
"""

import contextlib
import logging
from collections.abc import Generator

import jax

from tpu_npu_backends import user_cache
from tpu_npu_backends.gpu_cards import BFLOAT16_FROM

log = logging.getLogger(__name__)

_EXACT = ("float32", "highest")


def keep_float32() -> None:
    """Products of float32 in float32, of whatever dtype the run is, and not by default in TF32 (10 bits).

    JAX_DEFAULT_MATMUL_PRECISION, where it is set, is what the user wants: TF32 is said.
    """
    asked = jax.config.values["jax_default_matmul_precision"]
    if asked is None:
        jax.config.update("jax_default_matmul_precision", "highest")
    elif asked not in _EXACT:
        log.warning("products of float32 are TF32: JAX_DEFAULT_MATMUL_PRECISION = %s", asked)


@contextlib.contextmanager
def as_on(platform: str) -> Generator[None]:
    """Products that are traced within are those of a run on a platform, for devices that are not here."""
    if platform == "cuda" and jax.config.values["jax_default_matmul_precision"] is None:
        with jax.default_matmul_precision("highest"):
            yield
    else:
        yield


def has_bfloat16(capability: str) -> bool:
    """Of a compute capability such as "7.5"; of devices that have none, "", it is not doubted."""
    return not capability or tuple(int(part) for part in capability.split(".")) >= BFLOAT16_FROM


def deterministic() -> dict[str, str | bool | int]:
    """XLA options under which the same program gives the same bits again, on the same kind of card.

    Sums by atomics, whose order is that of the moment, are left out: an embedding's gradient is sorted and
    added up in turn. And what autotuning chose is kept: another choice is another order of sums. Choices are
    in the user's cache, so that all runs that see it make the same ones.
    """
    folder = user_cache.folder() / "autotuning"
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "xla_gpu_exclude_nondeterministic_ops": True,
        "xla_gpu_per_fusion_autotune_cache_dir": str(folder),
    }
