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
from pangu_jax.planning.compiled_facts import facts
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
    def bytes_per_device(self) -> float:
        """Of memory."""
        ...


E = TypeVar("E", bound=Expected)


@dataclass(frozen=True)
class Verified(Generic[E]):
    """A layout and what its compiled program says.

    Attributes:
      prediction: what was expected.
      facts: what is told of a compiled step (`compiled_facts`); None where it did not compile.
      hlo_file: where the optimised HLO text was written.
      error: why it did not compile.
    """

    prediction: E
    facts: dict[str, Any] | None = None
    hlo_file: str | None = None
    error: str | None = None

    @property
    def bytes_per_device(self) -> int | None:
        """Arguments, results and temporary memory; None where it did not compile."""
        return self.facts["memory_bytes_per_device"]["total"] if self.facts else None

    @property
    def step_s(self) -> float | None:
        """Seconds of a step, by the count; None where it did not compile, or on a CPU."""
        return self.facts["seconds"]["step"] if self.facts and self.facts["seconds"] else None

    @property
    def value(self) -> dict[str, Any]:
        """For JSON."""
        return {**(self.facts or {}), "hlo_file": self.hlo_file, "error": self.error}


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
        self,
        predictions: Sequence[E],
        compile_step: Callable[[Layout], CompiledStep],
        model_flops: float | None = None,
    ) -> list[Verified[E]]:
        """Each prediction beside what the compiler says, one program after the other.

        Args:
          predictions: layouts and what is expected of them.
          compile_step: compiles a layout's step for `devices`.
          model_flops: of a step, whole mesh; None where its MFU says nothing.
        """
        console, found = Console(stderr=True, force_jupyter=False), []
        for number, prediction in enumerate(predictions, start=1):
            what = f"{number} of {len(predictions)}: {prediction.layout.describe()}"
            with console.status(f"compiling {what}"):
                one = self._one(number, prediction, compile_step, model_flops)
            told = one.facts or {"cached": False, "compile_s": 0.0}
            seconds = "from the cache" if told["cached"] else f"{told['compile_s']:.0f} s"
            console.print(f"{'failed' if one.error else 'compiled'} {what}, {seconds}", highlight=False)
            found.append(one)
        return found

    def _one(
        self,
        number: int,
        prediction: E,
        compile_step: Callable[[Layout], CompiledStep],
        model_flops: float | None,
    ) -> Verified[E]:
        layout = prediction.layout
        try:
            step = compile_step(layout)
        except (BackendError, UserError, jax.errors.JaxRuntimeError, NotImplementedError) as error:
            return Verified(prediction, error=_first_line(error))
        cost = compiled_steps.cost(step, layout, self._topology, self.devices)
        return Verified(
            prediction,
            facts(step, cost, self._topology, model_flops),
            self._dump(step.hlo_text, f"{number:02d}-{_file_name(layout)}.hlo"),
        )

    def _dump(self, hlo_text: str, name: str) -> str | None:
        if self._folder is None:
            return None
        path = self._folder / name
        path.write_text(hlo_text, "utf-8")
        return str(path)


def fastest(ranking: Sequence[E], verified: Sequence[Verified[E]]) -> E:
    """Of the layouts that compiled, the fastest that fits; or else the first of the ranking."""
    fit = [found for found in verified if found.facts and found.facts["fits"]]
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
