"""Workers on a Ray cluster: every call is a Ray core task. Documents never pass through Ray, only paths do.

All nodes must see the output folder, and the inputs, under the same paths.
"""

import logging
import math
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.corpus.workers import ONE_THREAD
from data_pipelines.errors import DataError

REACH_SECONDS = 15.0
IN_FLIGHT = 2  # calls submitted for each CPU of the cluster: enough that none is idle
RETRIES = 5


class RayCluster:
    """The CPUs of the cluster at `address` (`HOST:PORT` of its head, or `auto` on one of its nodes).

    A context that leaves the cluster. Raises DataError within `REACH_SECONDS` when nobody answers.
    """

    def __init__(self, address: str, folder: Path):
        self._address, self._folder = address, folder

    def __enter__(self) -> "RayCluster":
        try:
            import ray
        except ImportError:
            raise DataError("--ray_address needs Ray: pip install 'pangu-jax[corpus]'") from None
        require_listening(self._address)
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            ray.init(
                address=self._address,
                log_to_driver=False,
                logging_level=logging.WARNING,
                runtime_env={"env_vars": ONE_THREAD},
            )
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise DataError(
                f"--ray_address {self._address}: {str(error).splitlines()[0]}; `ray status` on a node of the "
                "cluster shows its address"
            ) from None
        self._ray = ray
        self._require_shared_folder()
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def run(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[int]:
        """See engine.Workers."""
        from ray.exceptions import RayError, RayTaskError

        ray = self._ray
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_quiet).remote
        flying: dict[Any, int] = {}
        rest = iter(enumerate(calls))
        while True:
            room = max(1, math.floor(ray.cluster_resources().get("CPU", 1))) * IN_FLIGHT - len(flying)
            for _, (i, call) in zip(range(room), rest, strict=False):
                flying[remote(function, *call)] = i
            if not flying:
                return
            done, _ = ray.wait(list(flying), num_returns=1)
            for reference in done:
                index = flying.pop(reference)
                try:
                    ray.get(reference)
                except RayTaskError as error:
                    raise error.cause if isinstance(error.cause, DataError) else error from None
                except RayError as error:
                    raise DataError(
                        f"workers of the cluster died {RETRIES} times over one task: "
                        f"{str(error).splitlines()[0]}; run the same command again, what is done is kept"
                    ) from None
                yield index

    def _require_shared_folder(self) -> None:
        """Asks a worker on every node whether it sees what this process wrote into the output folder."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray = self._ray
        token = secrets.token_hex(8)
        path = self._folder / f".seen-{token}"
        path.write_text(token)
        try:
            look = ray.remote(num_cpus=0)(_sees)
            nodes = [node for node in ray.nodes() if node["Alive"]]
            seen = ray.get(
                [
                    look.options(
                        scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                    ).remote(str(path), token)
                    for node in nodes
                ]
            )
        finally:
            path.unlink(missing_ok=True)
        blind = [node["NodeManagerHostname"] for node, sees in zip(nodes, seen, strict=True) if not sees]
        if blind:
            raise DataError(
                f"--output {self._folder}: not visible on {', '.join(blind)}; a cluster needs a folder that "
                "all nodes share under one path"
            )


def _quiet(function: Callable[..., Any], *arguments: Any) -> None:
    function(*arguments)


def _sees(path: str, token: str) -> bool:
    try:
        return Path(path).read_text() == token
    except OSError:
        return False


def require_listening(address: str) -> None:
    """DataError within `REACH_SECONDS` when nobody answers; Ray itself would try for minutes."""
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        number = int(port)
    except ValueError:
        raise DataError(
            f"--ray_address {address}: write HOST:PORT, or auto on a node of the cluster"
        ) from None
    try:
        socket.create_connection((host.strip("[]"), number), timeout=REACH_SECONDS).close()
    except OSError as error:
        raise DataError(
            f"--ray_address {address}: nobody answers there ({error.strerror or error}); start a cluster "
            "with `ray start --head`, or leave the flag out to use this machine"
        ) from None
