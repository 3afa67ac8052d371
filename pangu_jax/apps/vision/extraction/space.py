"""Which sub-models a run holds, and what they cost without being run."""

import itertools
import math
from typing import NamedTuple

import jax

from pangu_jax.planner.efficiency import efficiency
from pangu_jax.planner.roofline import product_seconds
from pangu_jax.workloads.vision import shapes
from pangu_jax.workloads.vision.classifier import PictureClassifier
from pangu_jax.workloads.vision.elastic import ElasticClassifier
from pangu_jax.workloads.vision.model import slicing
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.slicing import SubModel
from tpu_npu_backends.chips import CHIPS

BYTES = 2  # of a weight and of an activation on a chip: bfloat16


class Space(NamedTuple):
    """Sub-models to choose from.

    Attributes:
      parts: all of them, the whole first.
      learnt: those that have learnt as such; the others share their weights. Empty where only the whole has.
    """

    parts: tuple[SubModel, ...]
    learnt: frozenset[SubModel]


def space(classifier: PictureClassifier, config: HierarchicalConfig) -> Space:
    """Every width with all depths that an elastic run has learnt; of another run every width of whole heads
    and every depth of the main stage, which are naive slices."""
    full = slicing.whole(config)
    if isinstance(classifier, ElasticClassifier):
        known = [full, *classifier.parts]
        widths = sorted({part.width for part in known}, reverse=True)
        depths = sorted({part.depths for part in known}, reverse=True)
        learnt = frozenset(known)
    else:
        head = config.d_model // config.heads
        # A quarter of the width is the width of the first stage: it must be a whole number.
        widths = [w for w in range(config.d_model, 0, -head) if w % 4 == 0]
        depths = [(*config.depths[:2], count) for count in range(config.depths[2], 0, -1)]
        learnt = frozenset()
    return Space(tuple(SubModel(*pair) for pair in itertools.product(widths, depths)), learnt)


def parameters(config: HierarchicalConfig, classes: int, stages: int) -> int:
    """Of a trunk and its head."""
    trunk = sum(math.prod(x.shape) for x in jax.tree.leaves(jax.eval_shape(config.init, jax.random.key(0))))
    width = sum(config.feature_widths[-stages:])
    return trunk + width * (2 + classes) + classes


def chip_seconds(config: HierarchicalConfig, chip_name: str, batch: int) -> float:
    """A forward pass of a batch on a chip that is not here, predicted: each product takes what its FLOPs or
    its bytes take, whichever is more, and nothing else counts (a roofline; no launch of a kernel, no head).

    Args:
      config: the shape.
      chip_name: of `tpu_npu_backends.chips`.
      batch: pictures.
    """
    chip = CHIPS[chip_name]
    reached = efficiency(chip)
    towers, ends = shapes.of_trunk(config, (config.units,))
    products = [(p, tower.layers) for tower in towers for p in tower.products] + [(end, 1) for end in ends]
    seconds = 0.0
    for product, count in products:
        sides = product.tokens * batch, product.rows, product.columns
        seconds += count * float(product_seconds(chip, reached, BYTES, *sides))
    for tower in towers:
        for attention in tower.attentions:
            work = batch * attention.flops / (chip.peak_flops * reached.attention)
            moved = BYTES * batch * 4 * attention.queries * attention.heads * attention.width
            seconds += tower.layers * max(work, moved / chip.hbm_bytes_per_s)
    return seconds
