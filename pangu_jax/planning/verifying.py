"""Verifying predictions: the step of a layout is compiled for chips that need not be there."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import jax
from rich.console import Console

from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import Layout
from pangu_jax.planning import compiled_steps
from pangu_jax.planning.compiled_steps import CompiledStep
from tpu_npu_backends import selection, topologies
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.topologies import Topology


class Expected(Protocol):
    """What is compared with a compiled program."""

    @property
    def layout(self) -> Layout:
        """Which is compiled."""
        ...

    @property
    def step_s(self) -> float:
        """Seconds of a step."""
        ...

    @property
    def bytes_per_chip(self) -> float:
        """Of memory."""
        ...


E = TypeVar("E", bound=Expected)


@dataclass(frozen=True)
class Verified(Generic[E]):
    """A layout and what its compiled program says.

    Attributes:
      prediction: what was expected.
      bytes_per_chip: arguments, results and temporary memory; None where it did not compile.
      step_s: from the compiler's cycles and a model of the links; None where no compiler counts cycles.
      compute_s: of it, what would be left if links were infinitely fast.
      compile_s: seconds of the compiler, when it ran.
      cached: whether it ran in an earlier call.
      hlo_file: where the optimised HLO text was written.
      error: why it did not compile.
    """

    prediction: E
    bytes_per_chip: int | None = None
    step_s: float | None = None
    compute_s: float | None = None
    compile_s: float | None = None
    cached: bool = False
    hlo_file: str | None = None
    error: str | None = None

    @property
    def value(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "compiled_bytes_per_chip": self.bytes_per_chip,
            "compiled_step_s": self.step_s,
            "compiled_compute_s": self.compute_s,
            "compile_s": self.compile_s,
            "cached": self.cached,
            "hlo_file": self.hlo_file,
            "error": self.error,
        }


class Verifier:
    """Compiles steps for one topology. BackendError at once where there is no compiler for it.

    Args:
      topology: the chips.
      dump_hlo: a folder for HLO texts, made when missing; None writes none.
    """

    def __init__(self, topology: Topology, dump_hlo: str | Path | None = None):
        self._topology = topology
        self._folder = Path(dump_hlo) if dump_hlo else None
        if self._folder:
            _make_writable(self._folder)
        # Tracing happens on this machine's CPU: chips that are there are not taken for it.
        selection.select(topology.name if topology.chip.platform == "cpu" else "cpu")
        self.devices = topologies.devices(topology)

    def verify(
        self, predictions: Sequence[E], compile_step: Callable[[Layout], CompiledStep]
    ) -> list[Verified[E]]:
        """Each prediction beside what the compiler says, one program after the other.

        Args:
          predictions: layouts and what is expected of them.
          compile_step: compiles a layout's step for `devices`.
        """
        console, found = Console(stderr=True, force_jupyter=False), []
        for number, prediction in enumerate(predictions, start=1):
            what = f"{number} of {len(predictions)}: {prediction.layout.describe()}"
            with console.status(f"compiling {what}"):
                one = self._one(number, prediction, compile_step)
            seconds = "from the cache" if one.cached else f"{one.compile_s or 0:.0f} s"
            console.print(f"{'failed' if one.error else 'compiled'} {what}, {seconds}", highlight=False)
            found.append(one)
        return found

    def _one(self, number: int, prediction: E, compile_step: Callable[[Layout], CompiledStep]) -> Verified[E]:
        layout = prediction.layout
        try:
            step = compile_step(layout)
        except (BackendError, UserError, jax.errors.JaxRuntimeError, NotImplementedError) as error:
            return Verified(prediction, error=_first_line(error))
        cost = compiled_steps.cost(step, layout, self._topology, self.devices)
        return Verified(
            prediction=prediction,
            bytes_per_chip=step.bytes_per_chip,
            step_s=cost.step_seconds if cost else None,
            compute_s=cost.compute_seconds if cost else None,
            compile_s=step.compile_s,
            cached=step.cached,
            hlo_file=self._dump(step.hlo_text, f"{number:02d}-{_file_name(layout)}.hlo"),
        )

    def _dump(self, hlo_text: str, name: str) -> str | None:
        if self._folder is None:
            return None
        path = self._folder / name
        path.write_text(hlo_text, "utf-8")
        return str(path)


def fastest(ranking: Sequence[E], verified: Sequence[Verified[E]], topology: Topology) -> E:
    """Of the layouts that compiled, the fastest that fits; or else the first of the ranking."""
    fit = [
        found
        for found in verified
        if found.bytes_per_chip is not None and found.bytes_per_chip <= topology.memory_bytes
    ]
    if not fit:
        return ranking[0]
    known = [(found.step_s, found.prediction) for found in fit if found.step_s is not None]
    return min(known, key=lambda pair: pair[0])[1] if known else fit[0].prediction


def _file_name(layout: Layout) -> str:
    return layout.describe().replace(" x ", "-").replace(" ", "") + f"-{layout.schedule}-{layout.remat}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--dump_hlo {folder}: {error.strerror}; name a folder that can be written") from None
