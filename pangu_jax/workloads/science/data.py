"""What a forecast model needs of its fields, and what is left of them when a finished run is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pangu_jax.workloads import Source, TrainStream
from pangu_jax.workloads.no_views import NoViews


class FieldData(Protocol):
    """Where states of the atmosphere come from, such as `data_pipelines.fields.field_set.FieldSet`.

    A batch is upper f32 [B, T, L, H, W, U] and surface f32 [B, T, H, W, S] in physical units, T states that
    are `lead_hours` apart; time, place and task_id int32 [B], weight f32 [B]. Cells that are missing are NaN.
    """

    @property
    def grid(self) -> Any:
        """A `Grid`."""
        ...

    @property
    def names(self) -> Any:
        """`FieldNames`: upper, surface, constants."""
        ...

    @property
    def lead_hours(self) -> int:
        """From one state of a window to the next."""
        ...

    @property
    def steps(self) -> int:
        """Of `lead_hours` that a window goes on after its first state."""
        ...

    @property
    def statistics(self) -> Any:
        """`Statistics` of states."""
        ...

    @property
    def increments(self) -> Any:
        """`Statistics` of the change over `lead_hours`."""
        ...

    @property
    def constants_HxWxK(self) -> np.ndarray:
        """Fields that do not change."""
        ...

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless windows."""
        ...

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """What is held out."""
        ...

    def order(self) -> dict[str, str]:
        """What decides the stream, in words."""
        ...

    def notices(self) -> Sequence[str]:
        """What a person must be told."""
        ...


@dataclass(frozen=True)
class NoFields(NoViews):
    """What is left of the fields when a finished run is opened: enough for forecasts, not to learn from.

    Attributes:
      height_L: of each level as the network reads it, of weights that bring their own; else None.
      constants_as_read: whether constants are as the network reads them; else they are normalised first.
    """

    grid: Any
    names: Any
    lead_hours: int
    steps: int
    statistics: Any
    increments: Any
    constants_HxWxK: np.ndarray
    height_L: np.ndarray | None = None
    constants_as_read: bool = False


@dataclass(frozen=True)
class RunFields(NoFields):
    """The fields of a run with those that its recipe names: windows are theirs, what they are measured in is
    the run's."""

    source: Any = None

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Windows of the recipe's fields."""
        return self.source.train_source(batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """Likewise."""
        return self.source.validation_sources(batch_size)

    def order(self) -> dict[str, str]:
        """Likewise."""
        return self.source.order()

    def notices(self) -> Sequence[str]:
        """Likewise."""
        return self.source.notices()
