"""Gradients of objectives on the trunk: those of each alone, whatever the batches."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from examples.digits import Digits
from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads import RunContext, Updates, Variables
from pangu_jax.workloads.vision import TrunkGradients, VisionModel
from pangu_jax.workloads.vision.data import NoPictures
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.objective import Begun, PictureObjective, Term
from pangu_jax.workloads.vision.model.pixels import centred
from pangu_jax.workloads.vision.model.plain import PlainConfig
from pangu_jax.workloads.vision.model.trunk import Stream

RUN = RunContext(OneDevice())
TRUNK = PlainConfig(
    size=8, patch=4, channels=1, d_model=8, layers=1, heads=2, class_token=False, pooling="mean"
)


@dataclass(frozen=True)
class Small(PictureObjective):
    """Features should be small."""

    name: ClassVar[str] = "small"
    loss_unit: ClassVar[str] = ""
    wanted: ClassVar[float] = 0.0
    seen: ClassVar[int] = 4  # units of each picture

    def init(self, trunk, channels, key):
        return {"scale": jnp.ones(())}

    def axes(self, trunk, channels):
        return {"scale": ()}

    def begin(self, trunk, pictures, task):
        whole = trunks.whole(trunk, centred(pictures.image_BxVxSxSxC[:, -1]))
        return Begun((Stream(whole.values_BxUxV[:, : self.seen], whole.places_BxU[:, : self.seen]),))

    def finish(self, params, pictures, begun, features, run):
        far = jnp.mean(jnp.square(features[0][-1] - self.wanted), (1, 2))
        return Term(far * params["scale"], {}, {})

    def flops(self, trunk, size, channels):
        return trunk.flops(trunk.units)


class Near(Small):
    """Those of half a picture should be near to 1."""

    name = "near"
    wanted, seen = 1.0, 2


@pytest.fixture(scope="module")
def measured():
    """A joint model, measured batch by batch; and each objective's gradient alone, of all pictures."""
    workload = VisionModel(TRUNK, NoPictures(8, 1, 1, False), [Near(), Small(weight=3.0)])
    draw = np.random.default_rng(0)
    numbers = np.arange(8, dtype=np.int32)
    batch = {
        "image": draw.integers(0, 256, (8, 1, 8, 8, 1), np.uint8),
        "label": numbers,
        "place": numbers,
        "weight": np.array([1, 1, 1, 1, 1, 1, 1, 0], np.float32),
    }
    variables = workload.init(jax.random.key(0))
    running = {"near": jnp.array([[2.0], [1.0]]), "small": jnp.array([[0.5], [1.0]])}
    variables = variables._replace(extra={**variables.extra, "running": running})
    evaluator = TrunkGradients()
    evaluator.attach(workload)
    measure = jax.jit(lambda batch: evaluator.measure(variables, batch, {}, RUN))
    halves = [measure({name: x[half] for name, x in batch.items()}) for half in (slice(4), slice(4, 8))]
    totals = jax.tree.map(lambda a, b: np.asarray(a + b), *(half.totals for half in halves))
    found = evaluator.finish(Updates(totals), {})

    def alone(objective):
        single = VisionModel(TRUNK, NoPictures(8, 1, 1, False), [objective])

        def loss(trunk):
            sums = single.loss(Variables({**variables.params, **trunk}), batch, None, RUN)
            return sums.loss / sums.weight

        own = {name: variables.params[name] for name in ("trunk", "main")}
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(own))])

    return {name: value.value for name, value in found.items()}, alone(Near()), alone(Small())


def test_norms_are_as_the_terms_enter_the_joint_loss(measured):
    found, near, small = measured
    assert found["gradient/near"] == pytest.approx(np.linalg.norm(near) / 2, rel=1e-4)
    assert found["gradient/small"] == pytest.approx(np.linalg.norm(small) * 3 / 0.5, rel=1e-4)


def test_the_cosine_tells_whether_they_pull_the_same_way(measured):
    found, near, small = measured
    cosine = near @ small / np.linalg.norm(near) / np.linalg.norm(small)
    assert found["cosine/near/small"] == pytest.approx(cosine, abs=1e-4)
    assert set(found) == {"gradient/near", "gradient/small", "cosine/near/small"}


def test_it_is_for_models_of_vision():
    with pytest.raises(UserError, match="TrunkGradients is for models of vision, and this run trains"):
        TrunkGradients().attach(Digits())
