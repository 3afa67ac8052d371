"""Models of the atmosphere and of equations: what the trainer needs of them."""

from pangu_jax.workloads.science.workload import ForecastModel

__all__ = ["ForecastModel"]
