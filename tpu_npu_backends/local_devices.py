"""Which of a node's devices are this process's: PANGU_LOCAL_DEVICES, for one process a GPU.

Numbers of devices of the node, such as `0` or `0,1`; or `one`: the device whose number is this task's among
those of its node, as launchers say it. Unset, a process has all that it sees.
"""

import os
import re
from collections.abc import Mapping

from tpu_npu_backends.errors import BackendError

VARIABLE = "PANGU_LOCAL_DEVICES"
ONE = "one"
# Open MPI; MPICH and Intel MPI; Slurm.
RANKS = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID")


def chosen(environment: Mapping[str, str] = os.environ) -> list[int] | None:
    """Numbers of this process's devices, or None for all; touches no device.

    Raises:
      BackendError: the variable is neither, or `one` where no launcher says which.
    """
    value = environment.get(VARIABLE, "")
    if not value:
        return None
    if value == ONE:
        rank = next((environment[name] for name in RANKS if environment.get(name, "").isdecimal()), None)
        if rank is None:
            raise BackendError(
                f"{VARIABLE} = one, and no launcher says which task of the node this is "
                f"({', '.join(RANKS)}): give the device's number"
            )
        return [int(rank)]
    if not re.fullmatch(r"[0-9]+(,[0-9]+)*", value):
        raise BackendError(
            f"{VARIABLE} = {value!r}: it is numbers of this node's devices, such as 0,1, or one"
        )
    return [int(number) for number in value.split(",")]


def leave_the_others(numbers: list[int] | None) -> None:
    """Of a process alone, before JAX has started: it sees its own GPUs only."""
    if numbers is not None:
        import jax

        jax.config.update("jax_cuda_visible_devices", ",".join(map(str, numbers)))
