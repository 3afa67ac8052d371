"""What a report of vision shows besides what the workload makes: pictures beside their nearest neighbours."""

from collections.abc import Sequence

import jax
import numpy as np

from data_pipelines.images.images import Images
from pangu_jax.apps.vision.measuring import neighbour_sheet
from pangu_jax.apps.vision.measuring.few_labels import Arm
from pangu_jax.apps.vision.measuring.seen import Viewer
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.exhibits import Exhibit
from pangu_jax.workloads.vision import PictureClassifier, VisionModel

AMONG = 500  # pictures of the training side that neighbours are looked for among: a report is soon made


def exhibits(
    workload: VisionModel | PictureClassifier, variables: Variables, run: RunContext
) -> Sequence[Exhibit]:
    """A sheet of held-out pictures; nothing without a trunk or without pictures of both sides.

    Args:
      workload: a model of vision.
      variables: as `Workload.evaluated` gives them.
      run: how the loss was carried out.
    """
    data = workload.data
    if workload.model is None or not isinstance(data, Images):
        return ()
    asked = data.measured[: neighbour_sheet.SHOWN]
    known = np.random.default_rng(0).permutation(data.pictures.places(False))[:AMONG]
    if not len(asked) or not len(known):
        return ()
    params = workload.complete(variables)
    own = jax.tree.leaves(params)[0].sharding
    mesh = getattr(own, "mesh", None) or make_mesh(Layout(data=1), [next(iter(own.device_set))])
    viewer = Viewer(workload.model, run, mesh)
    arm = Arm.of(viewer(params, data, np.sort(known)), viewer(params, data, asked))
    return [neighbour_sheet.sheet(data, arm, "this model")]
