"""Models of vision: what the trainer needs of them."""

from pangu_jax.workloads.vision.workload import VisionModel

__all__ = ["VisionModel"]
