"""What is left of the data of any family when a finished run is opened."""

from collections.abc import Mapping, Sequence

from pangu_jax.errors import UserError
from pangu_jax.workloads import Source, TrainStream


class NoViews:
    """What is left of a source when a finished run is opened: nothing to learn from."""

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """UserError: there is nothing to learn from."""
        del batch_size, seed, shift
        raise UserError("the run was opened without what it learnt from: `pangu train` trains it further")

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """None."""
        del batch_size
        return {}

    def order(self) -> dict[str, str]:
        """Nothing, in no order."""
        return {}

    def notices(self) -> Sequence[str]:
        """Nothing."""
        return ()
