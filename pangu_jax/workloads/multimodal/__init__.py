"""Models of pictures and captions: what the trainer needs of them."""

from pangu_jax.workloads.multimodal.evaluators import CaptionLikelihood, Retrieval
from pangu_jax.workloads.multimodal.workload import ImageTextModel

__all__ = ["CaptionLikelihood", "ImageTextModel", "Retrieval"]
