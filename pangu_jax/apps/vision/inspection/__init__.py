"""Inspection of photos: `pangu inspect` by a recipe that imports this; `pangu train` takes it too."""

from pangu_jax.apps.vision.inspection.inspect_photos import inspect

__all__ = ["inspect"]
