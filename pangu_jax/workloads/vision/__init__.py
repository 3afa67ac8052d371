"""Models of vision: what the trainer needs of them."""

from pangu_jax.workloads.vision.average_precision import AveragePrecision
from pangu_jax.workloads.vision.classifier import PictureClassifier
from pangu_jax.workloads.vision.detector import PictureDetector
from pangu_jax.workloads.vision.evaluators import KNearestNeighbours, LinearProbe
from pangu_jax.workloads.vision.trunk_gradients import TrunkGradients
from pangu_jax.workloads.vision.workload import VisionModel

__all__ = [
    "AveragePrecision",
    "KNearestNeighbours",
    "LinearProbe",
    "PictureClassifier",
    "PictureDetector",
    "TrunkGradients",
    "VisionModel",
]
