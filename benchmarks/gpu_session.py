"""The most that nine minutes on one card can tell, in one command. It has never run on a GPU.

Each part is a process of its own with a budget of seconds. What it finds is a line of JSON in
OUT/session.jsonl as soon as it is known, so what was done is kept when time runs out; a part that fails
leaves its error as its line, and the next one begins. OUT/session.log has what the parts print, and the table
that is printed at the end is made of the lines alone.

    pip install 'jax[cuda13]'                     # and, for the peer, torch and transformers
    python -m benchmarks.gpu_session --out DIR [--seconds 540] [--parts parity,base]
    python -m benchmarks.gpu_session --out DIR --backend cpu --size tiny    # here, cut short, in minutes
    python -m benchmarks.gpu_session --out DIR --table                      # the table of what DIR has
"""

import argparse
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import _gpu_session_table

Rows = Iterator[dict[str, Any]]
SECONDS = 540  # for which the parts' budgets are; with more to spend each has more
LEAST = 5  # seconds that a part is begun with


class Part(NamedTuple):
    """One thing to be found out.

    Attributes:
      module: of benchmarks, whose function of the part's name yields rows.
      seconds: after which it is ended.
      about: what it finds out.
    """

    module: str
    seconds: int
    about: str


# In order of what is missed most when there is time for no more.
PARTS = {
    "environment": Part("_gpu_session_machine", 40, "driver, card, memory, versions, the doctor's rows"),
    "peak": Part("_gpu_session_machine", 40, "products of random numbers, and copies"),
    "parity": Part("_gpu_session_numbers", 90, "loss and gradients beside cpu, in one process"),
    "base": Part("_gpu_session_training", 100, "plain and fused attention, beside compiling without a card"),
    "small": Part("_gpu_session_training", 150, "tokens/s and MFU in turns with transformers' T5, compiled"),
    "decoding": Part("_gpu_session_decoding", 110, "tokens/s in turns with transformers' generate"),
    "bits": Part("_gpu_session_numbers", 130, "two runs to the bit, with and without deterministic"),
    "2b6": Part("_gpu_session_training", 110, "2.6B parameters on one card: memory, tokens/s"),
}


def main(arguments: list[str] | None = None) -> None:
    """All parts, and the table."""
    flags = _parsed(arguments)
    if flags.part:
        _one(flags)
        return
    if not flags.table:
        flags.out.mkdir(parents=True, exist_ok=True)
        _all(flags)
    lines = (flags.out / "session.jsonl").read_text("utf-8").splitlines()
    print(_gpu_session_table.table([json.loads(line) for line in lines]))


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("build/gpu_session"), help="folder for lines and log"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all parts together")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}, in that order")
    parser.add_argument("--backend", default="", help="cuda or cpu; cuda where nvidia-smi is, unless given")
    parser.add_argument("--size", choices=("full", "tiny"), help="tiny on cpu, full on cuda unless given")
    parser.add_argument("--rounds", type=int, default=0, help="of what takes turns; by size unless given")
    parser.add_argument("--table", action="store_true", help="measure nothing: the table of what --out has")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    flags = parser.parse_args(arguments)
    flags.parts = [name for name in flags.parts.split(",") if name]
    if unknown := set(flags.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    flags.backend = flags.backend or ("cuda" if _has_card() else "cpu")
    flags.size = flags.size or ("tiny" if flags.backend.startswith("cpu") else "full")
    flags.rounds = flags.rounds or (2 if flags.size == "tiny" else 5)
    flags.lines = flags.out / "session.jsonl"
    return flags


def _has_card() -> bool:
    from tpu_npu_backends.descriptions import BACKENDS
    from tpu_npu_backends.doctor import driver

    return bool(driver.look(BACKENDS["cuda"]).devices)


def _all(flags: argparse.Namespace) -> None:
    until = time.monotonic() + flags.seconds
    flags.lines.write_text("")
    with tempfile.TemporaryDirectory() as cache, (flags.out / "session.log").open("wb") as log:
        for name in flags.parts:
            left = until - time.monotonic()
            if left < LEAST:
                write(flags.lines, {"part": name, "ended": "not begun: no time was left"})
                continue
            allowed = min(PARTS[name].seconds * max(1, flags.seconds / SECONDS), left)
            print(f"{name}: {PARTS[name].about} ({allowed:.0f} s at most)", flush=True)
            log.write(f"== {name}\n".encode())
            log.flush()
            write(flags.lines, {"part": name, **_run(name, flags, allowed, cache, log)})


def _run(name: str, flags: argparse.Namespace, seconds: float, cache: str, log) -> dict[str, Any]:
    """A part as a process, ended with all that it started when its time is over: how it ended."""
    command = [sys.executable, "-m", "benchmarks.gpu_session", "--part", name, "--out", str(flags.out)]
    command += ["--backend", flags.backend, "--size", flags.size, "--rounds", str(flags.rounds)]
    began, said = time.monotonic(), log.tell()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={**os.environ, **_environment(flags, name, cache)},
        start_new_session=True,
    )
    try:
        status = process.wait(seconds)
        ended = "" if status == 0 else f"status {status}: {_last_line(Path(log.name), said)}"
    except subprocess.TimeoutExpired:
        ended = f"not finished within {seconds:.0f} s, and ended"
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and so has all that it started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    log.seek(0, os.SEEK_END)
    return {"ended": ended or "done", "seconds": round(time.monotonic() - began, 1)}


def _environment(flags: argparse.Namespace, name: str, cache: str) -> dict[str, str]:
    """What is compiled once is kept for the parts that follow, but where each process is to tune anew."""
    both = name == "parity" and flags.backend == "cuda"
    own = {"JAX_PLATFORMS": "cuda,cpu" if both else flags.backend.partition(":")[0], "PYTHONUNBUFFERED": "1"}
    if name in ("small", "decoding"):
        own["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # several processes share the card
    if name == "2b6":
        own["XLA_PYTHON_CLIENT_MEM_FRACTION"] = "0.95"
    if name != "bits":
        own["JAX_COMPILATION_CACHE_DIR"] = cache
    else:
        own["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    return own


def _one(flags: argparse.Namespace) -> None:
    """In the process of a part: its rows, each written when it is known."""
    module = importlib.import_module(f"benchmarks.{PARTS[flags.part].module}")
    found: Callable[[argparse.Namespace], Rows] = getattr(module, f"part_{flags.part}")
    for row in found(flags):
        write(flags.lines, {"part": flags.part, **row})


def write(path: Path, row: dict[str, Any]) -> None:
    """A line that is on the disk when this returns."""
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        lines.flush()
        os.fsync(lines.fileno())


def _last_line(log: Path, start: int) -> str:
    """What a part said last, from its place in the log on."""
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


if __name__ == "__main__":
    main()
