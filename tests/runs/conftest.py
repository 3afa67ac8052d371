"""What is done with runs is tried on runs of the trainer's small workload."""

from tests.training.conftest import recipe

__all__ = ["recipe"]
