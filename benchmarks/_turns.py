"""Workers that take turns: each in a process of its own, so that a machine's moods meet all of them alike."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Read when a library is loaded, so given to a process.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def serve(greeting: str, answer: Callable[[str], Any]) -> None:
    """In a worker: print a greeting, then a JSON value for each line that is read.

    Args:
      greeting: one line, printed when everything is warm.
      answer: the line without its end -> what it took and made.
    """
    print(greeting, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(line.strip())), flush=True)


class Worker:
    """A process that answers each line it is sent; `serve` is its other side.

    Args:
      benchmark: the module that is run, such as "convolutions".
      name: of the worker, for its `--worker`.
      arguments: more of its command line.
      folder: a checkout of this library as it was, whose benchmark and library are run instead.
      environment: variables over those of this process.

    Attributes:
      greeting: its first line.

    Raises:
      SystemExit: it ended before it answered.
    """

    def __init__(
        self,
        benchmark: str,
        name: str,
        arguments: Sequence[str] = (),
        *,
        folder: str | None = None,
        environment: Mapping[str, str] = {},
    ):
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{benchmark}", "--worker", name, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, **environment, **({"PYTHONPATH": folder} if folder else {})},
        )
        self.greeting = self._read()

    def ask(self, line: str = "") -> Any:
        """What it answers to a line: the time is taken inside of it."""
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return json.loads(self._read())

    def close(self) -> None:
        """Let the process end."""
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker {self._name} ended: its messages are above")
        return line.strip()


def start_together(benchmark: str, names: Sequence[str], arguments: Sequence[str]) -> dict[str, Worker]:
    """Workers of a benchmark by name, which compile at the same time; only what they answer takes turns."""
    with ThreadPoolExecutor() as pool:
        started = pool.map(lambda name: Worker(benchmark, name, arguments), names)
        return dict(zip(names, started, strict=True))


def take_turns(
    workers: Mapping[str, Worker], rounds: int, repeats: Mapping[str, int] = {}
) -> dict[str, list[Any]]:
    """Worker -> its answers, one a round and `repeats[worker]` where it is named; all are closed then."""
    answers: dict[str, list[Any]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            answers[name] += [worker.ask() for _ in range(repeats.get(name, 1))]
    for worker in workers.values():
        worker.close()
    return answers


def compared(own: Sequence[float], other: Sequence[float]) -> str:
    """How many times as fast as another the first is, in words.

    Args:
      own: seconds by round.
      other: seconds by round.
    """
    ratios = [b / a for a, b in zip(own, other, strict=True)]
    middle = statistics.median(ratios)
    return f"round by round: median {middle:.3f} (min {min(ratios):.3f}, max {max(ratios):.3f})"
