"""The step of a layout, compiled for chips that need not be there.

What a compiler said is kept by the hash of the program it was given, so asking again costs only the tracing.
"""

import gzip
import hashlib
import importlib.metadata
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from pangu_jax.parallel.layout import Layout
from pangu_jax.planner.cost_report import CostReport
from tpu_npu_backends import gpu, user_cache
from tpu_npu_backends.compiling import compile_for, compiler_options
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.gpu_cards import CARDS
from tpu_npu_backends.topologies import Topology

FORMAT = 2  # of what is kept


@dataclass(frozen=True)
class CompiledStep:
    """What a compiler made of a step.

    Attributes:
      hlo_text: the optimised program.
      memory: bytes per device of "arguments", "results", "aliased" (results in the place of arguments) and
        "temporary", as the compiler says.
      compile_s: seconds of the compiler, when it ran.
      cached: whether it ran in an earlier call.
    """

    hlo_text: str
    memory: dict[str, int]
    compile_s: float
    cached: bool

    @property
    def bytes_per_device(self) -> int:
        """What the program holds at most: results in the place of arguments count once."""
        memory = self.memory
        return memory["arguments"] + memory["results"] - memory["aliased"] + memory["temporary"]


def compile_step(
    workload: Any,
    optimizer: Any,
    layout: Layout,
    batch_size: int,
    topology: Topology,
    devices: Sequence[jax.Device],
) -> CompiledStep:
    """The whole optimizer step, compiled for a topology, or what was kept of that.

    Args:
      workload: what is trained; no data is read.
      optimizer: its update is part of the step.
      layout: how it is spread over the devices.
      batch_size: examples per step, over all devices.
      topology: gives the compiler and its options.
      devices: `topologies.devices(topology)`.

    Raises:
      UserError: the layout does not go with the devices, the model or the batch.
      BackendError: it does not fit a device.
    """
    from pangu_jax.training.compiling import lower_step

    return compile_lowered(
        lower_step(workload, optimizer, layout, batch_size, devices, topology.chip.platform), topology
    )


def compile_lowered(lowered: jax.stages.Lowered, topology: Topology) -> CompiledStep:
    """Any step, lowered for the devices of a topology and compiled for them, or what was kept of that.

    Raises:
      BackendError: it does not fit a chip.
    """
    kept = _Kept(_key(lowered.as_text(), topology))
    if kept.exists():
        return kept.read()
    began = time.monotonic()
    compiled = compile_for(topology, lowered)
    text = compiled.as_text()
    if text is None:
        raise BackendError(f"the compiler for {topology.name} gives no text of what it compiled")
    step = CompiledStep(text, memory_of(compiled), round(time.monotonic() - began, 3), False)
    kept.write(step)
    return step


def cost(
    step: CompiledStep, layout: Layout, topology: Topology, devices: Sequence[jax.Device]
) -> CostReport | None:
    """What one run costs, by the count of `planner.cost`; None for a CPU, whose compiler counts no cycles."""
    if topology.chip.platform == "cpu":
        return None
    from pangu_jax.parallel.mesh import make_mesh
    from pangu_jax.planner import cost as costs

    mesh = make_mesh(layout, list(devices))
    places = [device.id for device in mesh.devices.flat]
    return costs.report(step.hlo_text, topology, dict(mesh.shape), places)


class _Kept:
    """What is kept of a compiled program: facts, and its text packed."""

    def __init__(self, key: str):
        self._folder = user_cache.folder() / "plans"
        self._facts = self._folder / f"{key}.json"
        self._hlo = self._folder / f"{key}.hlo.gz"

    def exists(self) -> bool:
        return self._facts.is_file() and self._hlo.is_file()

    def read(self) -> CompiledStep:
        facts = json.loads(self._facts.read_text("utf-8"))
        hlo_text = gzip.decompress(self._hlo.read_bytes()).decode()
        return CompiledStep(hlo_text, facts["memory"], facts["compile_s"], True)

    def write(self, step: CompiledStep) -> None:
        """The facts last: where they are, all is there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        facts = {"memory": step.memory, "compile_s": step.compile_s}
        for path, content in (
            (self._hlo, gzip.compress(step.hlo_text.encode(), 3)),
            (self._facts, json.dumps(facts).encode()),
        ):
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_bytes(content)
            fresh.rename(path)


def _key(program: str, topology: Topology) -> str:
    versions: dict[str, Any] = {name: _version(name) for name in ("jax", "jaxlib", "libtpu")}
    options: list[Any] = [compiler_options(topology)]
    if topology.chip.platform == "cuda":
        options.append(CARDS[topology.chip.name].target_text)
        versions["plugin"] = gpu.plugin()
    settings = json.dumps([FORMAT, options, topology.name, versions], sort_keys=True)
    return hashlib.sha256(f"{settings}\n{program}".encode()).hexdigest()[:32]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def memory_of(compiled: Any) -> dict[str, int]:
    """Of a compiled program, as `CompiledStep.memory`."""
    found = compiled.memory_analysis()
    return {
        "arguments": int(found.argument_size_in_bytes),
        "results": int(found.output_size_in_bytes),
        "aliased": int(found.alias_size_in_bytes),
        "temporary": int(found.temp_size_in_bytes),
    }
