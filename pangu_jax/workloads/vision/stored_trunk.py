"""A trunk's shape as JSON can hold it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.plain import PlainConfig
from pangu_jax.workloads.vision.model.trunk import TrunkConfig

# By the names that recipes hold.
TRUNKS: dict[str, Any] = {"HierarchicalTransformer": HierarchicalConfig, "VisionTransformer": PlainConfig}


def described(config: TrunkConfig) -> dict[str, Any]:
    """{"name": the trunk's in recipes, and its settings}."""
    shape: Any = config
    name = next(name for name, kind in TRUNKS.items() if type(shape) is kind)
    return {"name": name, **dataclasses.asdict(shape)}


def made(description: Mapping[str, Any]) -> TrunkConfig:
    """The inverse. KeyError, TypeError or ValueError where it is no trunk of ours."""
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in description.items()}
    return TRUNKS[str(settings.pop("name"))](**settings)
