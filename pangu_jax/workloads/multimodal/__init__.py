"""Models of pictures and captions: what the trainer needs of them."""

from pangu_jax.workloads.multimodal.workload import ImageTextModel

__all__ = ["ImageTextModel"]
