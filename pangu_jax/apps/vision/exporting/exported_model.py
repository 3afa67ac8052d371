"""What is exported of a run: a function from pictures to logits, or to features where it knows no classes."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.runs.opening import OpenedRun
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.vision import PictureClassifier
from pangu_jax.workloads.vision.model import classifying, pixels
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.pixels import centred
from pangu_jax.workloads.vision.pooled import STAGES, pooled

STRAIGHT = 10_000  # layers compiled without a loop: cut out of their stacks while exporting
Pictures = Callable[[Any], jax.Array]  # [B, S, S, C], 0 to 255 -> fp32 [B, outputs]


class ExportedModel(NamedTuple):
    """A model and what must be known to use it.

    Attributes:
      kind: "classifier" or "features".
      of_picture: uint8 [S, S, C] -> fp32 [outputs], of one picture: whatever its Python asks of a batch's
        size, `jax.vmap` makes a program of it that is right for every size.
      reference: uint8 [B, S, S, C] -> fp32 [B, outputs], as this process computes it otherwise.
      size: pixels of a picture's side.
      channels: 3 for R, G, B, or 1 for grey.
      labels: of the classes; () where they have no names, or there are none.
      mean: what is taken from values of 0 to 1, for all channels or one each.
      deviation: what they are divided by then.
      parameters: numbers in its weights.
    """

    kind: str
    of_picture: Pictures
    reference: Callable[[np.ndarray], np.ndarray]
    size: int
    channels: int
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    parameters: int

    @property
    def output(self) -> str:
        """Name of what comes out."""
        return "logits" if self.kind == "classifier" else "features"


def of_run(run: OpenedRun) -> ExportedModel:
    """The model of a run of vision.

    Raises:
      UserError: it has no trunk.
    """
    workload: Any = run.workload
    model = getattr(workload, "model", None)
    if model is None:
        raise UserError(
            f"{run.directory.path} restores pictures and has no trunk: exports are of classifiers and of "
            "features; `pangu restore` uses it"
        )
    # On one device, whatever they were spread over.
    whole = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), tuple(run.variables))
    variables = workload.evaluated(Variables(*whole))
    # By the CPU's own kernels where there are some; exports know none, and go layer by layer.
    own = run.spread.run if getattr(run.spread, "mesh", None) is None else RunContext(OneDevice())
    straight = copy.copy(workload)
    straight.model = dataclasses.replace(model, unroll=STRAIGHT)
    exported = _answers(straight, variables, RunContext(OneDevice()))
    usual = jax.jit(_answers(workload, variables, own))
    kept = workload.complete(variables)
    used = [kept[name] for name in ("trunk", "main", "head") if name in kept]
    return ExportedModel(
        kind="classifier" if _has_classes(workload) else "features",
        of_picture=lambda pixels_SxSxC: exported(pixels_SxSxC[None])[0],
        reference=lambda pixels_BxSxSxC: np.asarray(usual(pixels_BxSxSxC)),
        size=model.size,
        channels=model.channels,
        labels=tuple(getattr(workload, "classes", ())),
        mean=tuple(getattr(model, "mean", (pixels.MEAN,))),
        deviation=tuple(getattr(model, "deviation", (pixels.DEVIATION,))),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(used)),
    )


def _has_classes(workload: Any) -> bool:
    return isinstance(workload, PictureClassifier) or getattr(workload.model, "classes", 0) > 0


def _answers(workload: Any, variables: Variables, run: RunContext) -> Pictures:
    if isinstance(workload, PictureClassifier):
        return lambda pixels: workload.logits(variables, pixels, run)
    params = workload.complete(variables)
    if _has_classes(workload):  # a ViT that was imported with its head

        def classify(pixels: Any) -> jax.Array:
            forward = workload.model.forward(run.placement, run.remat, run.dtype)
            return classifying.logits(forward, params, trunks.whole(workload.model, centred(pixels)))

        return classify
    return lambda pixels: pooled(workload.features(params, pixels, run), STAGES)
