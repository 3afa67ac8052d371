"""What a report shows of a trunk's features: held-out pictures beside their nearest neighbours."""

from collections.abc import Sequence

import jax
import numpy as np

from data_pipelines.images.images import Images
from pangu_jax.apps.vision.measuring import neighbour_sheet
from pangu_jax.apps.vision.measuring.few_labels import Arm
from pangu_jax.apps.vision.measuring.seen import Viewer
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.workloads import RunContext, Variables, Workload
from pangu_jax.workloads.exhibits import Exhibit
from pangu_jax.workloads.vision import VisionModel

SEARCHED = 2000  # pictures of the training side, at most, in which neighbours are looked for


def exhibits(workload: Workload, variables: Variables, run: RunContext) -> Sequence[Exhibit]:
    """A sheet of neighbours; nothing for a model without a trunk, or without pictures."""
    if not isinstance(workload, VisionModel) or workload.model is None or jax.process_count() > 1:
        return ()
    images = workload.data
    if not isinstance(images, Images) or not len(images.measured):
        return ()
    known = images.pictures.places(False)
    known = np.random.default_rng(0).permutation(known)[:SEARCHED]
    device = next(iter(jax.tree.leaves(variables.params)[0].devices()))
    see = Viewer(workload.model, run, make_mesh(Layout(data=1), [device]))
    shown = images.measured[: neighbour_sheet.SHOWN]
    arm = Arm.of(see(variables.params, images, known), see(variables.params, images, shown))
    return [neighbour_sheet.sheet(images, arm, "the trunk")]
