"""What planning found: layouts by prediction, and the best of them compiled."""

from dataclasses import asdict, dataclass
from typing import Any

from pangu_jax.planner import planner
from pangu_jax.planner.planner import Search
from pangu_jax.planner.predictions import PlannedModel, Prediction
from pangu_jax.planning.verifying import Verified
from tpu_npu_backends.topologies import Topology


@dataclass(frozen=True)
class Plan:
    """What planning found.

    Attributes:
      model: what was planned for.
      topology: the chips.
      search: the ranking, and how many layouts were looked at.
      own: what is expected of the recipe's own layout; None where it does not go with this topology.
      verified: the best of the ranking, compiled.
      best: of the layouts that compiled, the fastest that fits; or else the first of the ranking.
    """

    model: PlannedModel
    topology: Topology
    search: Search
    own: Prediction | None
    verified: list[Verified[Prediction]]
    best: Prediction

    @property
    def value(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "topology": self.topology.name,
            "chips": self.topology.chips,
            "devices": self.topology.device_count,
            "analytic_only": self.topology.analytic,
            "parameters": self.model.shape.parameters,
            "considered": self.search.considered,
            "divided": self.search.divided,
            "fitting": self.search.feasible,
            "layouts": [self._item(prediction) for prediction in self.search.ranking],
            "recipe": self._item(self.own) if self.own else None,
            "verified": [self._item(found.prediction) | found.value for found in self.verified],
            "bindings": planner.bindings(self.best.layout).splitlines(),
        }

    def _item(self, prediction: Prediction) -> dict[str, Any]:
        return {
            "layout": asdict(prediction.layout),
            "model_flops_per_step": self.model.flops,
            "predicted_bytes_per_device": round(prediction.bytes_per_device),
            "predicted_step_s": prediction.step_s,
            "predicted_compute_s": prediction.compute_s,
            "predicted_mfu": prediction.mfu,
            "bubble": prediction.bubble,
            "memory": {name: round(size) for name, size in prediction.memory.items()},
            "collectives_s": prediction.collectives,
        }
