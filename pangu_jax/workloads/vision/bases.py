"""What a classifier begins with: a trunk that has learnt something, or nothing, perhaps with a head."""

from typing import Protocol

import gin
import jax

from pangu_jax.workloads import Tree
from pangu_jax.workloads.vision.model.trunk import TrunkConfig


class PretrainedTrunk(Protocol):
    """A trunk that has learnt something, and perhaps a classifier's head."""

    @property
    def config(self) -> TrunkConfig:
        """The shape."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Those that it has a head for; () for a trunk alone."""
        ...

    def restore(self, shardings: Tree) -> Tree:
        """{"trunk", "main"}, and {"head"} where it has one, fp32, where they are to be."""
        ...


@gin.configurable(module="pangu_jax.workloads.vision")
class FreshTrunk:
    """A trunk that has learnt nothing: what everything else is held against.

    Args:
      config: the shape, @HierarchicalTransformer() or @VisionTransformer().
      seed: of the weights.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, config: TrunkConfig = gin.REQUIRED, seed: int = 0):
        self.config, self._seed = config, seed

    def restore(self, shardings: Tree) -> Tree:
        """See `PretrainedTrunk`."""
        return jax.jit(self.config.init, out_shardings=shardings)(jax.random.key(self._seed))


class TrunkInMemory:
    """A trunk whose parameters are here; they are not changed.

    Args:
      config: the shape.
      params: {"trunk", "main"}, and "head" where there are classes; other names are passed over.
      classes: that its head is for.
    """

    def __init__(self, config: TrunkConfig, params: Tree, classes: tuple[str, ...] = ()):
        names = ("trunk", "main", "head") if classes else ("trunk", "main")
        self.config, self.classes, self._params = config, classes, {name: params[name] for name in names}

    def restore(self, shardings: Tree) -> Tree:
        """See `PretrainedTrunk`."""
        return jax.device_put(self._params, shardings)
