"""The real files of the traps, and reading them without a store."""

import os
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.fields.reading import blocks, files
from data_pipelines.fields.reading.choices import FieldChoices
from data_pipelines.fields.reading.plan import BuildPlan, plan

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[4] / "../shared/data") / "weather"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA} (set PANGU_DATA_DIR)")


def planned(*names: str, **choices) -> BuildPlan:
    """Of files of the weather data, or of absolute paths."""
    chosen = FieldChoices(**choices)
    return plan([files.look(DATA / name, chosen) for name in names], chosen)


def checked(found: BuildPlan, name: str) -> np.ndarray:
    """All states of a variable [N, L or 1, H, W], after the checks of a build."""
    fields = blocks.fields_of(found, name, 0, len(found.hours_N))
    blocks._checked(found, name, fields, 0)
    return fields


def read(*names: str, variable: str, **choices) -> tuple[BuildPlan, np.ndarray]:
    """Plan and states of one variable."""
    found = planned(*names, **choices)
    return found, checked(found, variable)
