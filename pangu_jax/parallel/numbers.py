"""What a layout computes with on a backend: the dtype of its products, and what attends."""

from typing import Literal, NamedTuple

import jax.numpy as jnp

from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import Layout
from tpu_npu_backends import gpu_numbers
from tpu_npu_backends.descriptions import BACKENDS


class Numbers(NamedTuple):
    """Of a run.

    Attributes:
      dtype: of activations and products.
      kernel: "flash" by the backend's kernel for attention, or "plain".
      kernel_name: of that kernel; "" for "plain".
    """

    dtype: jnp.dtype
    kernel: Literal["plain", "flash"]
    kernel_name: str = ""

    def describe(self) -> str:
        """Such as `bfloat16, attention by cuDNN`, or `float32` where attention is plain."""
        return self.dtype.name + (f", attention by {self.kernel_name}" if self.kernel_name else "")


def numbers(layout: Layout, platform: str, capability: str = "") -> Numbers:
    """What a layout computes with.

    Args:
      layout: its dtype and its attention, "auto" or not.
      platform: of tpu_npu_backends, such as "cuda".
      capability: of a GPU, such as "9.0"; "" of others, and where it is not known.

    Raises:
      UserError: a kernel is asked for that the backend does not have, or not for that dtype; or a dtype that
        the card does not have.
    """
    backend, has_bfloat16 = BACKENDS[platform], gpu_numbers.has_bfloat16(capability)
    automatic = backend.compute_dtype if has_bfloat16 else "float32"
    dtype = jnp.dtype({"auto": automatic}.get(layout.compute_dtype, layout.compute_dtype))
    if dtype == jnp.bfloat16 and not has_bfloat16:
        raise UserError(
            f"Layout.compute_dtype = 'bfloat16': a card of compute capability {capability} has none, from "
            "8.0 on they do; take 'float32'"
        )
    name = backend.attention.get(dtype.name, "")
    if layout.attention == "flash" and not name:
        for_dtypes = " and ".join(backend.attention)
        why = f"its kernel takes {for_dtypes}, not {dtype.name}" if for_dtypes else "it has no kernel"
        raise UserError(
            f"Layout.attention = 'flash' on {platform}: {why}; take "
            + (f"Layout.compute_dtype = {for_dtypes!r}, or " if for_dtypes else "")
            + "Layout.attention = 'plain'"
        )
    if layout.attention == "plain" or not name:
        return Numbers(dtype, "plain")
    return Numbers(dtype, "flash", name)
