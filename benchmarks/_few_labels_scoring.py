"""What `benchmarks.few_labels` measures of finished runs: probes, fine-tuning, and PSNR.

Features of a picture are those of the last two stages, each averaged over the quarters of the picture and
put side by side; of every arm alike, by its averaged parameters. The probe's ridge is chosen among powers of
ten on the labels that it learns from, by leaving one out; test pictures decide nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.images.batches import Pictures
from data_pipelines.images.images import images
from pangu_jax.apps.vision.restoration import Protocol, noisy, psnr
from pangu_jax.apps.vision.restoration_quality import blurred
from pangu_jax.evaluation import statistics
from pangu_jax.runs import opening
from pangu_jax.workloads.vision.model.restoring import Degraded, Restoration

LABELS = {500: "1%", 5000: "10%"}
DRAWS, CLASSES = 5, 10
SIGMA, RESTORED = 25.0, 1000
BLURS = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
BATCH = 250
Row = dict[str, Any]


class Subject(NamedTuple):
    """A model as it is measured.

    Attributes:
      workload: a `VisionModel`.
      params: those that are evaluated.
      run: how a forward pass is carried out.
    """

    workload: Any
    params: Any
    run: Any
