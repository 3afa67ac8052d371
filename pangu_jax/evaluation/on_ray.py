"""Groups of a sweep on Ray, each in a process with one CPU; rows come back one by one as they are known."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from data_pipelines.corpus.ray_workers import require_listening
from data_pipelines.errors import DataError
from pangu_jax.errors import UserError

RETRIES = 3


def rows(
    run: Callable[[Any], Iterator[dict]], groups: Sequence[Any], workers: int, address: str | None
) -> Iterator[dict]:
    """What `run` yields for each group, in the order in which it happens.

    Args:
      run: yields the rows of a group.
      groups: independent of each other.
      workers: CPUs of a Ray that is started here; with an address, the cluster's count.
      address: HOST:PORT of a cluster's head, or "auto".

    Raises:
      UserError, DataError: there is no Ray, nobody answers, a worker died again and again, or what `run`
        raised.
    """
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ImportError:
        raise UserError("a sweep on several workers needs Ray: pip install 'pangu-jax[corpus]'") from None
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address:
        require_listening(address)
        options["address"] = address
    else:
        options |= {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise UserError(f"--ray_address {address}: {str(error).splitlines()[0]}") from None
    try:
        work = ray.remote(num_cpus=1, max_retries=RETRIES, num_returns="streaming")(run)
        waiting: list[Any] = [work.remote(group) for group in groups]  # Ray types no streams
        while waiting:
            ready: list[Any] = ray.wait(waiting, num_returns=1, fetch_local=False)[0]
            for stream in ready:
                try:
                    yield ray.get(next(stream))
                except StopIteration:
                    waiting.remove(stream)
                except RayTaskError as error:
                    raise error.cause if isinstance(error.cause, DataError | UserError) else error from None
                except RayError as error:
                    raise UserError(
                        f"a worker of the sweep died {RETRIES} times: {str(error).splitlines()[0]}; run the "
                        "same command again, what is done is kept"
                    ) from None
    finally:
        ray.shutdown()
