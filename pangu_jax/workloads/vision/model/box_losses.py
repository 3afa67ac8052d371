"""What a detector's maps should say of boxes, and how far they are from it.

A thing is a bump on its class's map: 1 in the middle, falling off as a Gaussian whose radii are shares of the
box's sides. The map is learnt by the focal loss of CornerNet (arXiv 1808.01244): alpha 2, beta 4. The sides
are learnt everywhere on the bump, the more the higher it is (TTFNet, arXiv 1909.00700: small sets converge
several times as fast as from the middle alone), by generalised intersection over union (arXiv 1902.09630).
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.workloads.vision.model.detecting import HeadMaps, edges_of, middles


class BoxTargets(NamedTuple):
    """What one level should say.

    Attributes:
      heat_BxHxWxC: bumps, 1 at most.
      middle_BxHxWxC: 1 where the middle of a thing is, else 0.
      edges_BxHxWx4: the box that a place is to speak of.
      share_BxHxW: how much its sides count there; adds up to 1 for a box.
    """

    heat_BxHxWxC: jax.Array
    middle_BxHxWxC: jax.Array
    edges_BxHxWx4: jax.Array
    share_BxHxW: jax.Array


@dataclass(frozen=True)
class BoxLoss:
    """How maps are held against boxes.

    Args:
      small: pixels of a view: things whose longer side is at most this are looked for on the finest level.
      spread: radius of a bump at three standard deviations, in halves of the box's sides.
      gamma: focal loss: how much less what is known already counts (alpha of CornerNet).
      beta: how much less a place near a middle counts as wrong.
      sides: weight of the sides' loss.
      tau: logit adjustment (arXiv 2007.07314): a class's logits are learnt with tau times the logarithm of
        its share added, and used without: rare ones are found more often. 0 for none.
      margin: LDAM (arXiv 1906.07413): the rarest class's middles are learnt with so much taken from their
        logits, others with less by the fourth root of their number. 0 for none.
    """

    small: float = 48.0
    spread: float = 0.54
    gamma: float = 2.0
    beta: float = 4.0
    sides: float = 5.0
    tau: float = 0.0
    margin: float = 0.0

    def __post_init__(self):
        if min(self.small, self.spread) <= 0 or min(self.gamma, self.beta, self.sides, self.margin) < 0:
            raise ValueError("BoxLoss: small and spread must be above 0, the others at least 0")

    def targets(
        self, edges_BxMx4: jax.Array, label_BxM: jax.Array, maps: HeadMaps, stride: int, level: int
    ) -> BoxTargets:
        """What a level should say; boxes of label -1 are none."""
        _, height, width, classes = maps.logit_BxHxWxC.shape
        sizes = edges_BxMx4[..., 2:] - edges_BxMx4[..., :2]
        is_small = jnp.max(sizes, axis=-1) <= self.small
        here = (label_BxM >= 0) & (is_small if level == 0 else ~is_small)
        centre = (edges_BxMx4[..., :2] + edges_BxMx4[..., 2:]) / 2
        limit = jnp.array([width - 1, height - 1])
        cell_BxMx2 = jnp.clip(jnp.floor(centre / stride), 0, limit)
        at = (cell_BxMx2 + 0.5) * stride
        deviation = jnp.maximum(self.spread * sizes / 6.0, stride / 3.0)
        y, x = middles(height, width, stride)
        across = (x[None] - at[..., 0, None]) / deviation[..., 0, None]  # [B, M, W]
        down = (y[None, None, :, 0] - at[..., 1, None]) / deviation[..., 1, None]
        bump_BxMxHxW = (
            jnp.exp(-0.5 * jnp.square(down))[..., None] * jnp.exp(-0.5 * jnp.square(across))[:, :, None]
        )
        bump_BxMxHxW = jnp.where(here[..., None, None] & (bump_BxMxHxW > 0.01), bump_BxMxHxW, 0.0)
        of_class = jax.nn.one_hot(label_BxM, classes, dtype=jnp.float32)
        heat = jnp.max(bump_BxMxHxW[..., None] * of_class[:, :, None, None], axis=1)
        owner_BxHxW = jnp.argmax(bump_BxMxHxW, axis=1)
        share_BxM = 1.0 / jnp.maximum(jnp.sum(bump_BxMxHxW, axis=(2, 3)), 1e-6)
        flat = owner_BxHxW.reshape(len(label_BxM), -1)
        share = jnp.take_along_axis(share_BxM, flat, axis=1).reshape(owner_BxHxW.shape)
        edges = jnp.take_along_axis(edges_BxMx4, flat[..., None], axis=1).reshape(*owner_BxHxW.shape, 4)
        middle = (heat >= 1.0).astype(jnp.float32)
        return BoxTargets(heat, middle, edges, share * jnp.max(bump_BxMxHxW, axis=1))

    def heat_loss(self, logit_BxHxWxC: jax.Array, targets: BoxTargets, share_C: jax.Array) -> jax.Array:
        """[B]: added up over places and classes.

        Args:
          logit_BxHxWxC: of the maps.
          targets: what they should say.
          share_C: of boxes that are of each class, as they were counted before training.
        """
        middle = targets.middle_BxHxWxC
        logit = logit_BxHxWxC
        if self.tau:
            logit += self.tau * jnp.log(share_C / jnp.max(share_C))
        if self.margin:
            logit -= middle * self.margin * (jnp.min(share_C) / share_C) ** 0.25
        found = jax.nn.sigmoid(logit)
        right = (1 - found) ** self.gamma * jax.nn.log_sigmoid(logit) * middle
        near = (1 - targets.heat_BxHxWxC) ** self.beta
        wrong = near * found**self.gamma * jax.nn.log_sigmoid(-logit) * (1 - middle)
        return -jnp.sum(right + wrong, axis=(1, 2, 3))

    def sides_loss(self, sides_BxHxWx4: jax.Array, targets: BoxTargets, stride: int) -> jax.Array:
        """[B]: 1 - GIoU of each box as the places of its bump have it."""
        away = 1.0 - generalised_overlap(edges_of(sides_BxHxWx4, stride), targets.edges_BxHxWx4)
        return jnp.sum(away * targets.share_BxHxW, axis=(1, 2))


def generalised_overlap(one: jax.Array, other: jax.Array) -> jax.Array:
    """GIoU of boxes [..., 4], from -1 to 1."""
    low, high = jnp.maximum(one[..., :2], other[..., :2]), jnp.minimum(one[..., 2:], other[..., 2:])
    both = _area(low, high)
    union = _area(one[..., :2], one[..., 2:]) + _area(other[..., :2], other[..., 2:]) - both
    low, high = jnp.minimum(one[..., :2], other[..., :2]), jnp.maximum(one[..., 2:], other[..., 2:])
    hull = jnp.maximum(_area(low, high), 1e-6)
    return both / jnp.maximum(union, 1e-6) - (hull - union) / hull


def _area(low: jax.Array, high: jax.Array) -> jax.Array:
    return jnp.prod(jnp.maximum(high - low, 0.0), axis=-1)
