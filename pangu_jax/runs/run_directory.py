"""The directory of one run: where everything goes, and the lock that lets one trainer at a time write there.

The lock is the operating system's (flock on `.lock`), so it goes when its process goes, however it goes:
there is no stale lock to remove by hand. The file's text says who holds it.
"""

import datetime
import fcntl
import json
import logging
import os
import shlex
import socket
import sys
from pathlib import Path
from typing import IO

from pangu_jax.errors import UserError

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class RunDirectory:
    """A run directory, made if it does not exist.

    Used as a context manager by the one process that writes (process 0 of several, which is the whole lock
    across hosts): locks it and sends the program's log to run.log as well. Readers (evaluation, report) do
    neither.

    Raises:
        UserError: the directory cannot be made or written.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path).absolute()
        self.checkpoints = self.path / "checkpoints"
        self.recipe = self.path / "recipe.gin"
        self.vocabulary = self.path / "vocabulary.model"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.units = self.path / "units.json"
        self.sessions = self.path / "sessions.jsonl"
        self.notices = self.path / "notices.json"
        self.best = self.path / "best.json"
        self.samples = self.path / "samples.json"
        self.exhibits = self.path / "exhibits.json"
        self.pictures = self.path / "exhibits"
        self.baselines = self.path / "baselines.json"
        self.environment = self.path / "environment.json"
        self.report = self.path / "report.html"
        self.log = self.path / "run.log"
        self.lock = self.path / ".lock"
        self._lock_file: IO[str] | None = None
        self._log_handler: logging.Handler | None = None

    def acquire(self) -> "RunDirectory":
        """Take the lock and open run.log.

        Raises:
            UserError: another trainer holds the lock (the message names it), or the directory cannot be
                written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock_file = self.lock.open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"cannot write the run directory {self.path}: {error.strerror}; choose another with --run_dir"
            ) from None
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_holder(lock_file)
            lock_file.close()
            raise UserError(
                f"{self.path} is in use by another trainer: {holder}; wait for it, stop it, or choose "
                "another directory with --run_dir"
            ) from None
        except OSError as error:  # a network file system without locks
            lock_file.close()
            raise UserError(
                f"cannot lock {self.lock}: {error.strerror}; choose a --run_dir on a file system with locks"
            ) from None
        self._lock_file = lock_file
        lock_file.truncate(0)
        json.dump(
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
                "command": shlex.join(sys.argv),
            },
            lock_file,
        )
        lock_file.flush()
        self._open_log()
        return self

    def release(self) -> None:
        """Give the lock back and close run.log. Safe to call twice."""
        if self._log_handler:
            logging.getLogger().removeHandler(self._log_handler)
            self._log_handler.close()
            self._log_handler = None
            logging.getLogger("pangu_jax").setLevel(logging.NOTSET)
        if self._lock_file:
            # The file stays: unlinking it would let two processes lock two files of the same name.
            self._lock_file.truncate(0)
            self._lock_file.close()
            self._lock_file = None

    def __enter__(self) -> "RunDirectory":
        return self.acquire()

    def __exit__(self, *exception) -> None:
        self.release()

    def previous_recipe(self) -> str | None:
        """Text of the resolved recipe of the run so far; None if there is none. Whether it may differ from
        the present one is the trainer's decision."""
        return self.recipe.read_text(encoding="utf-8") if self.recipe.is_file() else None

    def write_recipe(self, text: str) -> None:
        """Write recipe.gin, wholly or not at all."""
        write_atomically(self.recipe, text)

    def _open_log(self) -> None:
        handler = logging.FileHandler(self.log, encoding="utf-8")
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
        handler.setLevel(logging.INFO)
        logging.getLogger().addHandler(handler)
        logging.getLogger("pangu_jax").setLevel(logging.INFO)
        self._log_handler = handler


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside `path` and rename into place, so that a reader sees the old file or the new. Text is
    UTF-8.

    Raises:
        UserError: it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; free or repair the disk and run the same command again"
        ) from None


def _read_holder(lock_file: IO[str]) -> str:
    lock_file.seek(0)
    try:
        holder = json.load(lock_file)
        return "pid {pid} on host {host} since {since} ({command})".format(**holder)
    except (ValueError, KeyError):
        return "it has not yet said who it is"
