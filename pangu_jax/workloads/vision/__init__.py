"""Models of vision: what the trainer needs of them."""

from pangu_jax.workloads.vision.average_precision import AveragePrecision
from pangu_jax.workloads.vision.bases import FreshTrunk
from pangu_jax.workloads.vision.classifier import PictureClassifier
from pangu_jax.workloads.vision.detector import PictureDetector
from pangu_jax.workloads.vision.distilled import DistilledClassifier
from pangu_jax.workloads.vision.elastic import ElasticClassifier
from pangu_jax.workloads.vision.evaluators import KNearestNeighbours, LinearProbe
from pangu_jax.workloads.vision.few_labelled import FewLabelled
from pangu_jax.workloads.vision.trunk_gradients import TrunkGradients
from pangu_jax.workloads.vision.workload import VisionModel

__all__ = [
    "AveragePrecision",
    "DistilledClassifier",
    "ElasticClassifier",
    "FewLabelled",
    "FreshTrunk",
    "KNearestNeighbours",
    "LinearProbe",
    "PictureClassifier",
    "PictureDetector",
    "TrunkGradients",
    "VisionModel",
]
