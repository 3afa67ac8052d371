"""A vision model as a pipeline runs it (`pangu_jax.parallel.stage.Program`)."""

from typing import Any, NamedTuple

import jax

from pangu_jax.models import stack
from pangu_jax.workloads import Microbatch, RunContext, Sums, Tree, Variables
from pangu_jax.workloads.vision.model.objective import PictureObjective
from pangu_jax.workloads.vision.model.trunk import Stream
from pangu_jax.workloads.vision.side_by_side import SideBySide

MAIN = "main"


class VisionProgram(NamedTuple):
    """The main stage as a tower; before and after it what objectives show and make.

    Each stream of an objective is an array of the payload. What comes before the main stage is a few percent
    of the work and made again at the end, where an objective reads its features: they are several times as
    large as what the ring carries.
    """

    workload: SideBySide
    run_context: RunContext
    extra: Tree
    constants: Tree

    @property
    def towers(self) -> tuple[str, ...]:
        """The main stage; none without a trunk."""
        return (MAIN,) if self.workload.model else ()

    def begin(self, tower: int, shared: Tree, payload: dict[str, Any], part: Microbatch) -> dict[str, Any]:
        """What enters the first layer."""
        del tower
        started = {
            _name(one, number): self._forward.begin(shared["trunk"], stream)[1]
            for one in self.workload.objectives
            for number, stream in enumerate(self._begun(one, part).streams)
        }
        return payload | started

    def run(
        self,
        tower: int,
        layers: Tree,
        shared: Tree,
        payload: dict[str, Any],
        part: Microbatch,
        first: jax.Array,
    ) -> dict[str, Any]:
        """Some layers."""
        del tower, shared, part, first
        return {name: self._forward.run(layers, x) for name, x in payload.items()}

    def finish(self, shared: Tree, payload: dict[str, Any], part: Microbatch) -> Sums:
        """The loss of a microbatch."""
        workload, begun, features = self.workload, {}, {}
        for one in workload.objectives:
            begun[one.name] = self._begun(one, part)
            features[one.name] = tuple(
                self._features(one, shared["trunk"], stream, payload[_name(one, number)])
                for number, stream in enumerate(begun[one.name].streams)
            )
        variables = Variables(shared, self.extra, self.constants)
        pictures = workload.pictures(part.batch, part.keys)
        return workload.sums(variables, part.batch, pictures, begun, features, self.run_context)

    def rematerialise(self, function):
        """As the remat policy says, for a whole chunk of layers."""
        return stack.rematerialise(function, self.run_context.remat)

    @property
    def _forward(self) -> Any:
        return self.workload.forward(self.run_context)

    def _begun(self, one: PictureObjective, part: Microbatch):
        return self.workload.begin(one, self.workload.pictures(part.batch, part.keys), self.run_context.phase)

    def _features(self, one: PictureObjective, trunk: Tree, stream: Stream, x: jax.Array):
        early = self._forward.begin(trunk, stream)[0] if one.early else ()
        return self._forward.end(trunk, early, x)


def _name(one: PictureObjective, number: int) -> str:
    return f"{one.name} {number}"
