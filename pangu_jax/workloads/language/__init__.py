"""Pangu NLP under the trainer; recipes import this package."""

from pangu_jax.workloads.language.workload import LanguageModel

__all__ = ["LanguageModel"]
