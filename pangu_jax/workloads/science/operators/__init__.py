"""Operators of partial differential equations: what the trainer needs of them."""

from pangu_jax.workloads.science.operators.evaluators import FinerGrid
from pangu_jax.workloads.science.operators.workload import OperatorModel

__all__ = ["FinerGrid", "OperatorModel"]
