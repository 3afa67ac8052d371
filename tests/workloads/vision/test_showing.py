"""What a report shows of a vision model: a sheet per objective that makes pictures, with its figures."""

import re

import jax
import numpy as np
import pytest

from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision import VisionModel
from pangu_jax.workloads.vision.data import NoPictures
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.masked import MaskedPixels
from pangu_jax.workloads.vision.model.restoring import Restoration

SHOWN = 8
RUN = RunContext(OneDevice())


class Shown(NoPictures):
    """Five pictures that are held out, in a batch that is filled up."""

    def validation_sources(self, batch_size):
        class Source:
            def __len__(self):
                return 1

            def batch(self, step, rows=None):
                draw = np.random.default_rng(0).integers(0, 256, (batch_size, 1, 4, 4, 3), np.uint8)
                numbers = np.arange(batch_size, dtype=np.int32)
                image = draw.repeat(4, 2).repeat(4, 3)
                named = {"image": image, "label": numbers, "place": numbers, "task_id": 0 * numbers}
                return named | {"weight": (numbers < 5).astype(np.float32)}

        return {"pictures": Source()}


@pytest.fixture(scope="module")
def exhibits():
    trunk = HierarchicalConfig(size=16, unit=8, d_model=16, depths=(1, 1, 1), heads=2)
    objectives = [
        MaskedPixels(ratio=0.5, normalised=False, width=16, layers=1, heads=2),
        Restoration(tasks=("denoise", "x2"), width=8, blocks=1),
    ]
    workload = VisionModel(trunk, Shown(16, 3, 1, False), objectives)
    return workload, workload.exhibits(workload.init(jax.random.key(0)), RUN)


def test_a_sheet_for_each_task(exhibits):
    _, shown = exhibits
    kinds = [re.sub(r"\(.*?\)", "()", one.title) for one in shown]
    assert kinds == [
        "held out: as they are, as seen, painted",
        "held out, denoise: as they are, noisy (), restored ()",
        "held out, x2: as they are, bicubic (), restored ()",
    ]
    for one in shown:
        assert one.pixels_HxWxC.shape == (3 * 16, 5 * 16, 3)  # five pictures, without what filled up


def test_the_rows_are_what_their_title_says(exhibits):
    workload, (painted, noisy, _) = exhibits
    (source,) = workload.validation_sources(SHOWN).values()
    original = np.concatenate(list(source.batch(0)["image"][:5, 0]), axis=1)
    for one in (painted, noisy):
        np.testing.assert_array_equal(one.pixels_HxWxC[:16], original)
    # What was seen is as it is in the second row, and grey, the mean of photos, elsewhere.
    seen = painted.pixels_HxWxC[16:32]
    assert np.mean(np.all(seen == original, -1)) == pytest.approx(0.5, abs=0.01)
    # Noise of 25 is 20.2 dB, less what clipping to 8 bits takes of it in the picture but not in the figure.
    assert float(re.search(r"noisy \((.*?) dB", noisy.title)[1]) == pytest.approx(20.2, abs=0.3)
    assert float(re.search(r"restored \((.*?) dB", noisy.title)[1]) < 40
