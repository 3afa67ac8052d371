"""A vision model as a pipeline runs it (`pangu_jax.parallel.stage.Program`)."""

from typing import Any, NamedTuple

import jax

from pangu_jax.models import stack
from pangu_jax.workloads import Microbatch, RunContext, Sums, Tree, Variables
from pangu_jax.workloads.vision.model.objective import Begun
from pangu_jax.workloads.vision.model.streams import Together, together
from pangu_jax.workloads.vision.model.trunk import Features
from pangu_jax.workloads.vision.side_by_side import SideBySide

MAIN = "main"


class VisionProgram(NamedTuple):
    """The main stage as a tower; before and after it what objectives show and make.

    Streams that go through the trunk together are an array of the payload. What comes before the main stage
    is a few percent of the work and made again at the end, where an objective reads its features: they are
    several times as large as what the ring carries.
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
        _, groups = self._shown(part)
        return payload | {
            _name(group): group.forward.begin(shared["trunk"], group.stream)[1] for group in groups
        }

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
        del tower, shared, first
        _, groups = self._shown(part)  # their arrays are not used, so they are not computed here
        return {_name(group): group.forward.run(layers, payload[_name(group)]) for group in groups}

    def finish(self, shared: Tree, payload: dict[str, Any], part: Microbatch) -> Sums:
        """The loss of a microbatch."""
        begun, groups = self._shown(part)
        early = any(one.early for one in self.workload.objectives)
        found: dict[int, Features] = {}
        for group in groups:
            before = group.forward.begin(shared["trunk"], group.stream)[0] if early else ()
            found |= group.apart(group.forward.end(shared["trunk"], before, payload[_name(group)]))
        variables = Variables(shared, self.extra, self.constants)
        pictures = self.workload.pictures(part.batch, part.keys)
        features = [found[number] for number in range(len(found))]
        return self.workload.sums(variables, part.batch, pictures, begun, features, self.run_context)

    def rematerialise(self, function):
        """As the remat policy says, for a whole chunk of layers."""
        return stack.rematerialise(function, self.run_context.remat)

    def _shown(self, part: Microbatch) -> tuple[dict[str, Begun], list[Together]]:
        """What each objective shows, and the streams that go through the trunk together."""
        workload, phase = self.workload, self.run_context.phase
        pictures = workload.pictures(part.batch, part.keys)
        begun = {one.name: workload.begin(one, pictures, phase) for one in workload.objectives}
        streams = [stream for one in begun.values() for stream in one.streams]
        return begun, together(workload.forward(self.run_context), streams)


def _name(group: Together) -> str:
    return "streams " + " ".join(map(str, group.numbers))
