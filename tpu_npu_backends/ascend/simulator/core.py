"""One core at work: its memories, its pipes, its registers."""

import numpy as np

from tpu_npu_backends.ascend.simulator.faults import Fault
from tpu_npu_backends.ascend.simulator.memory import SIZES, TAGS, Memory, View
from tpu_npu_backends.ascend.simulator.synchronisation import CrossCoreFlags, Pipes


class Core:
    """State of a core during a launch.

    Attributes:
      number: among all cores of the launch.
      kind: "AIC" (cube) or "AIV" (vector).
      block, blocks: which block it belongs to, of how many.
      sub_block, sub_blocks: 0 of 1, or 0 and 1 of 2 for the vector cores of a mixed kernel's block.
      registers: value of each SSA value of its function, by number.
      loaded, stored: bytes moved from and to global memory.
    """

    def __init__(
        self,
        number: int,
        cores: int,
        kind: str,
        block: int,
        blocks: int,
        sub_block: int,
        sub_blocks: int,
        flags: CrossCoreFlags,
    ) -> None:
        self.number, self.kind, self.block, self.blocks, self.sub_block = (
            number,
            kind,
            block,
            blocks,
            sub_block,
        )
        self.sub_blocks = sub_blocks
        self.flags = flags
        self.pipes = Pipes(number, cores)
        self.registers: list = []
        self.loaded = self.stored = 0
        self.waits: str | None = None  # what for, while it waits for another core
        self._memories: dict[str, Memory] = {}

    def memory(self, space: str, where: str) -> Memory:
        """The core's own memory of an address space."""
        if space not in self._memories:
            if space not in SIZES:
                raise Fault("unsupported", f"address space {space}", where)
            self._memories[space] = Memory(f"{space} of core {self.number}", np.zeros(SIZES[space], np.uint8))
        return self._memories[space]

    def issue(
        self,
        pipe: int,
        reads: tuple[View, ...],
        writes: tuple[View, ...],
        where: str,
        scratch: tuple[View, ...] = (),
        write_pipe: int | None = None,
    ) -> None:
        """Begins an instruction: checks what it reads and writes, and marks what it writes.

        Args:
          pipe: number of the pipe that runs it.
          reads: the views that it reads, scalars left out.
          writes: the views that it writes, likewise.
          where: of the operation, for a fault.
          scratch: views whose contents are lost.
          write_pipe: of the writes, for a macro that spans pipes; the same pipe by default.
        """
        pipes = self.pipes
        number = pipes.issue(pipe)
        for view in reads:
            view.check_written(where)
            pipes.check_ordered(pipe, number, view, False, where)
        if write_pipe is not None and write_pipe != pipe:
            pipes.learn(write_pipe, pipes.snapshot(pipe))
            pipe, number = write_pipe, pipes.issue(write_pipe)
        for view in writes:
            if not view.memory.checked:
                raise Fault("arguments", f"writes to {view.memory.name}, an input", where)
            pipes.check_ordered(pipe, number, view, True, where)
            view.mark_written()
        for view in scratch:
            pipes.check_ordered(pipe, number, view, True, where)
            view.mark_written(TAGS)
