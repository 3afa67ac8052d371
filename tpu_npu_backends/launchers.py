"""Tasks of a launcher: how many processes it started, and which of them this one is.

Launchers in the order in which one looks inside another's: `mpirun` starts its daemons by `srun` where it
can, so under it Slurm's variables are those of the daemons.
"""

from collections.abc import Mapping
from typing import NamedTuple

# How many processes, and which this one is: Open MPI; MPICH, Intel MPI, MVAPICH and `srun --mpi=pmi2`.
MPI = (("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"), ("PMI_SIZE", "PMI_RANK"))
# Of the step, where Slurm says it; else of what srun was asked for.
SLURM = (("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"), ("SLURM_NTASKS", "SLURM_PROCID"))
LAUNCHERS = (*MPI, *SLURM)

_LARGEST_STEP = 0xFFFFFFF0  # above it Slurm numbers what is no step of srun's: batch scripts, salloc's shell


class LaunchedTask(NamedTuple):
    """A process among those that a launcher started.

    Attributes:
      count_name: the variable that says how many there are.
      count: how many.
      index: which this one is, from 0.
    """

    count_name: str
    count: int
    index: int


def task(environment: Mapping[str, str]) -> LaunchedTask | None:
    """What the launcher of this process says of it; None where there is none, or it says nothing readable.

    A shell of `salloc` and a batch script see how many tasks their job may start, and are none of them.
    """
    for names in LAUNCHERS:
        count, index = (environment.get(name, "") for name in names)
        if count.isdecimal() and index.isdecimal():
            if names in SLURM and not _is_step(environment):
                return None
            return LaunchedTask(names[0], int(count), int(index))
    return None


def _is_step(environment: Mapping[str, str]) -> bool:
    """Whether srun started this process, as one of the tasks that Slurm's variables count."""
    step = environment.get("SLURM_STEP_ID", "")
    if step and not (step.isdecimal() and int(step) <= _LARGEST_STEP):
        return False
    # A batch script is "task 0", and what srun starts from it has its variables and those of the step.
    return bool(environment.get("SLURM_STEP_NUM_TASKS")) or environment.get("ENVIRONMENT") != "BATCH"
