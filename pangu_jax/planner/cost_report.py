"""What a count of a compiled step found: numbers, and a table of them for people."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CollectiveCost:
    """All collectives of a kind along the same mesh axes, in one step, of one device.

    Attributes:
      kind: such as "all-gather".
      axes: mesh axes along which the devices differ; empty when they do not.
      count: how often one runs.
      bytes: what a device sends.
      seconds: on links of their own.
      exposed_seconds: while the core waits for them.
    """

    kind: str
    axes: tuple[str, ...]
    count: int
    bytes: float
    seconds: float
    exposed_seconds: float


@dataclass(frozen=True)
class Contribution:
    """What one instruction adds to a step.

    Attributes:
      name: of the instruction in the text.
      what: "compute", "kernel" or "collective" (waiting for it).
      op_name: where it comes from in the traced program.
      count: how often it adds.
      seconds: in one step.
    """

    name: str
    what: str
    op_name: str
    count: int
    seconds: float


@dataclass(frozen=True)
class CostReport:
    """One step of a compiled program, of one device unless said otherwise. Estimated: nothing ran.

    Attributes:
      topology: name.
      devices: how many.
      peak_flops: FLOP/s of one device.
      compute_seconds: the core at work: the compiler's cycles, and kernels.
      kernel_seconds: of that, Pallas kernels, priced from their FLOPs.
      exposed_seconds: the core waiting for collectives.
      matmul_flops: of dots and convolutions, what is computed again included.
      kernel_flops: of Pallas kernels.
      collectives: by kind and mesh axes, the longest first.
      top: the instructions that take most, the longest first.
      notes: what was assumed.
    """

    topology: str
    devices: int
    peak_flops: float
    compute_seconds: float
    kernel_seconds: float
    exposed_seconds: float
    matmul_flops: int
    kernel_flops: int
    collectives: tuple[CollectiveCost, ...]
    top: tuple[Contribution, ...]
    notes: tuple[str, ...]

    @property
    def step_seconds(self) -> float:
        """Compute and exposed communication."""
        return self.compute_seconds + self.exposed_seconds

    def mfu(self, model_flops_per_step: float) -> tuple[float, float]:
        """(compute-only, with exposed communication), as fractions of the peak of all devices.

        Args:
          model_flops_per_step: of the whole mesh: 6 x the matmul parameters of each tower x the tokens it
            sees, and attention, causal halved; nothing that is computed again.
        """
        at_peak = model_flops_per_step / self.devices / self.peak_flops
        compute, step = (
            at_peak / seconds if seconds else 0.0 for seconds in (self.compute_seconds, self.step_seconds)
        )
        return compute, step

    def table(self, rows: int = 10) -> str:
        """For people: sums, collectives, and the `rows` instructions that take most."""
        lines = [
            f"{self.topology}: a step of {_time(self.step_seconds)}, estimated from the compiled program",
            f"  compute   {_time(self.compute_seconds)}, of it kernels {_time(self.kernel_seconds)}",
            f"  exposed   {_time(self.exposed_seconds)}, the core waiting for collectives",
            f"  products  {self.matmul_flops / 1e12:.4g} TFLOP per device, kernels "
            f"{self.kernel_flops / 1e12:.4g}",
            "",
            f"{'collective':<20} {'mesh axes':<16} {'count':>7} {'GB sent':>9} {'takes':>10} {'exposed':>10}",
        ]
        lines += [
            f"{c.kind:<20} {'+'.join(c.axes) or '-':<16} {c.count:>7} {c.bytes / 1e9:>9.3f} "
            f"{_time(c.seconds):>10} {_time(c.exposed_seconds):>10}"
            for c in self.collectives
        ]
        lines += ["", f"{'takes':>10} {'of step':>8} {'count':>6}  {'what':<10} from"]
        lines += [
            f"{_time(c.seconds):>10} {c.seconds / self.step_seconds:>8.1%} {c.count:>6}  {c.what:<10} "
            f"{c.op_name or c.name}"
            for c in self.top[:rows]
        ]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3f} {unit}"
    return f"{seconds * 1e6:.1f} us"
