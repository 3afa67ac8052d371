"""Several processes as one run: how a process learns of the others, and how it leaves them.

PANGU_COORDINATOR=HOST:PORT, an address of process 0 and a free port there, makes a process one of several.
How many there are and which it is come from PANGU_PROCESSES and PANGU_PROCESS, or from what launchers set:
MPI's, Slurm, Kubernetes (the index only). PANGU_COORDINATOR=auto leaves all three to JAX, which asks the
metadata of TPU pods. Unset, there is one process, and a launcher that started several is refused, unless
PANGU_PROCESSES=1 says that each is a run by itself. PANGU_CONNECT_SECONDS (300) is how long the others are
awaited. PANGU_LOCAL_DEVICES says which of its node's GPUs a process has (`local_devices.py`).
"""

import atexit
import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from tpu_npu_backends import launchers, local_devices, proxies, roll_call
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.roll_call import ProcessPlacement, Watch

COUNT = ("PANGU_PROCESSES", *dict.fromkeys(count for count, _ in launchers.LAUNCHERS))
INDEX = ("PANGU_PROCESS", *dict.fromkeys(index for _, index in launchers.LAUNCHERS), "JOB_COMPLETION_INDEX")
AUTO = "auto"
WORD_SECONDS = 10.0  # for the watch to report that another process has ended, once a collective failed

_log = logging.getLogger(__name__)


def place(environment: Mapping[str, str] = os.environ) -> ProcessPlacement | str | None:
    """This process's place as the environment has it, "auto", or None for one process alone.

    Raises:
      BackendError: a variable is missing, or none of the kind; or a launcher started several processes that
        would know nothing of each other.
    """
    where = environment.get("PANGU_COORDINATOR", "")
    if not where:
        _require_alone(environment)
        return None
    if where == AUTO:
        return AUTO
    match = re.fullmatch(r"\[?(?P<host>[^\[\]/\s]+?)\]?:(?P<port>[0-9]{1,5})", where)
    if not match or not 0 < int(match["port"]) < 2**16:
        raise BackendError(f"PANGU_COORDINATOR = {where!r}: it is HOST:PORT of process 0, or auto")
    count_name, count = _first(environment, COUNT)
    index_name, index = _first(environment, INDEX)
    if count < 1:
        raise BackendError(f"{count_name} = {count}: it is how many processes there are, at least 1")
    if index >= count:
        raise BackendError(f"{index_name} = {index}: of {count} processes ({count_name}), counted from 0")
    return ProcessPlacement(match["host"], int(match["port"]), count, index)


def expected_count(environment: Mapping[str, str] = os.environ) -> int | None:
    """How many processes the environment announces; None where only JAX knows. Touches no device."""
    found = place(environment)
    if isinstance(found, str):
        return None
    return found.count if found else 1


@contextmanager
def join_processes(
    mistakes: tuple[type[Exception], ...] = (), environment: Mapping[str, str] = os.environ
) -> Generator[None]:
    """Within it this process is one of those that the environment names. Before JAX has started.

    When the run ends well, all end together. When it raises, this process does not wait for the others at
    its exit, and each of those ends too, with a line and status 2.

    Args:
      mistakes: exceptions of the run's own. After any other one it may be that another process has ended.
      environment: holds the variables.

    Raises:
      BackendError: the others cannot be reached, or do not agree.
    """
    found, own = place(environment), local_devices.chosen(environment)
    if found is None or (isinstance(found, ProcessPlacement) and found.count == 1):
        local_devices.leave_the_others(own)
        yield
        return
    seconds = _seconds(environment)
    watch = Watch(found, roll_call.answer(found, seconds)) if isinstance(found, ProcessPlacement) else None
    _pass_proxies_by(found, environment)
    leave = _initialize(found, seconds, own)
    try:
        yield
    except (BackendError, *mistakes):
        raise
    except Exception:
        if watch:
            # A collective fails when another process dies, and says so at length. The watch says who, and
            # does not come back.
            time.sleep(WORD_SECONDS)
        raise
    else:
        if watch:
            watch.finish()
        leave.waiting = True
    finally:
        if watch:
            watch.close()


def key_value_store() -> Any:
    """JAX's store of strings that all processes share and process 0 keeps: jax.distributed's client. (JAX has
    no public way to it; Orbax takes the same.)

    Raises:
      BackendError: JAX was not started as one of several processes.
    """
    from jax._src import distributed

    if distributed.global_state.client is None:
        raise BackendError(
            "the processes of the run have no coordinator: set PANGU_COORDINATOR in all of them"
        )
    return distributed.global_state.client


class _Leave:
    """At exit: flush and go, unless the run ended well and the others may be waited for."""

    waiting = False

    def __call__(self) -> None:
        if not self.waiting:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(1 if hasattr(sys, "last_type") else 2)  # an exception that nobody caught is a bug


def _require_alone(environment: Mapping[str, str]) -> None:
    """Of what is set without a coordinator."""
    if environment.get(COUNT[0]) == "1" and environment.get(INDEX[0], "") in ("", "0"):
        return  # whatever a launcher says
    for name in (COUNT[0], INDEX[0]):
        if environment.get(name):
            raise BackendError(f"{name} is set and PANGU_COORDINATOR is not: set it to HOST:PORT")
    task = launchers.task(environment)
    if task and task.count > 1:
        raise BackendError(
            f"this is task {task.index} of {task.count} ({task.count_name}), and PANGU_COORDINATOR is unset: "
            "set it to HOST:PORT of task 0, and all train as one run; or set PANGU_PROCESSES=1, and each is "
            "a run by itself, with its own --run_dir"
        )


def _pass_proxies_by(found: ProcessPlacement | str, environment: Mapping[str, str]) -> None:
    """Let JAX reach process 0 as the roll call did: without a proxy. Before it connects."""
    import jax

    if isinstance(found, ProcessPlacement):
        changes = proxies.exempting(found.host, environment)
        done = f"{found.host}, the host of process 0, without that proxy (no_grpc_proxy now has it)"
    else:
        changes = proxies.without(environment)
        done = "the other processes without that proxy (grpc_proxy is now empty)"
    if changes:
        _log.warning("%s is set: JAX reaches %s", proxies.in_use(environment), done)
        os.environ.update(changes)
    if isinstance(found, ProcessPlacement) or changes:
        # It warns of any such variable, whether it matters or not, and advises to unset it.
        jax.config.update("jax_check_proxy_envs", False)


def _initialize(found: ProcessPlacement | str, seconds: float, own: list[int] | None) -> _Leave:
    import jax

    leave = _Leave()
    atexit.register(leave)  # after JAX's own, so called ahead of it: that one waits for all others
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # The loop has its own signals, and this one complains when process 0 is gone.
    jax.config.update("jax_enable_preemption_service", False)
    options: dict[str, Any] = {"initialization_timeout": int(seconds), "local_device_ids": own}
    if isinstance(found, ProcessPlacement):
        options |= {
            "coordinator_address": _address(found.host, found.port),
            "num_processes": found.count,
            "process_id": found.index,
            "cluster_detection_method": "deactivate",  # it gives a task of Slurm one GPU, whatever it has
        }
        if found.interface:
            options["coordinator_bind_address"] = _address(found.interface, found.port)
    try:
        jax.distributed.initialize(**options)
    except (RuntimeError, ValueError) as error:
        how = "; set it to HOST:PORT of process 0 instead" if found == AUTO else ""
        reason = str(error).splitlines()[0]
        raise BackendError(f"JAX cannot join the processes of the run: {reason}{how}") from None
    return leave


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, int]:
    for name in names:
        if value := environment.get(name):
            if not value.isdecimal():
                raise BackendError(f"{name} = {value!r}: it is a number")
            return name, int(value)
    raise BackendError(
        f"PANGU_COORDINATOR is set and {names[0]} is not, and no launcher says it: set it "
        f"({', '.join(names[1:])} are not set either)"
    )


def _seconds(environment: Mapping[str, str]) -> float:
    value = environment.get("PANGU_CONNECT_SECONDS") or "300"
    if not value.isdecimal() or int(value) < 1:
        raise BackendError(f"PANGU_CONNECT_SECONDS = {value!r}: it is a number of seconds, at least 1")
    return float(value)
