"""What is measured of a model of pictures and captions: does it find, and do its captions need the picture.

train.evaluators = [@Retrieval(), @CaptionLikelihood()]
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gin
import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.workloads import Batch, RunContext, Source, Tree, Updates, Variables, Workload
from pangu_jax.workloads.evaluator import Collect, Evaluator, MeasuredValue
from pangu_jax.workloads.multimodal import ranks
from pangu_jax.workloads.multimodal.workload import ImageTextModel

ROLLED = 17  # rows of a batch between a picture and the wrong one that takes its place


class _OfPairs(Evaluator):
    """Measures pairs that are held out: the run's own.

    Args:
      every: steps between evaluations; 0 as the run validates.
    """

    def __init__(self, every: int = 0):
        self.every = every
        self._workload: Any = None

    def attach(self, workload: Workload) -> None:
        """UserError for a model of another family."""
        if not isinstance(workload, ImageTextModel):
            raise UserError(f"{type(self).__name__} measures models of pictures and captions: leave it out")
        self._workload = workload


@gin.configurable(module="pangu_jax.workloads.multimodal")
class Retrieval(_OfPairs):
    """Recall at 1, 5 and 10 and the median rank, from texts to pictures and from pictures to texts.

    Each caption asks by itself; any right answer counts; ties are lost (`ranks`).
    """

    def attach(self, workload: Workload) -> None:
        """UserError for a model without embeddings."""
        super().attach(workload)
        if self._workload.config.contrast == "none":
            raise UserError("Retrieval: ImageTextModel.contrast = 'none' has no embeddings to compare")

    def sources(self, batch_size: int) -> Sequence[Source]:
        """Every caption that is held out."""
        return [self._workload.data.held_out.texts_once(batch_size)]

    def begin(self, batch_size: int, collect: Collect) -> Tree:
        """Embeddings of the pictures, by their numbers."""
        rows = collect(self.seen, [self._workload.data.held_out.pictures_once(batch_size)]).rows
        return by_number(rows, "picture")

    def seen(self, variables: Variables, batch: Batch, run: RunContext) -> Updates:
        """A row per picture."""
        params = self._workload.complete(variables)
        seen = self._workload.seen(params, batch, run)
        embedding = self._workload.forward(run).image_embedding(params, seen)
        return Updates({}, {"embedding": embedding, "picture": batch["picture"], "weight": batch["weight"]})

    def measure(self, variables: Variables, batch: Batch, begun: Tree, run: RunContext) -> Updates:
        """A row per caption."""
        del begun
        params = self._workload.complete(variables)
        embedding = self._workload.forward(run).text_embedding(params, batch["tokens"])
        return Updates({}, {"embedding": embedding, "text": batch["text"], "weight": batch["weight"]})

    def finish(self, measured: Updates, begun: Tree) -> Mapping[str, MeasuredValue]:
        """Percent found among the first, and median ranks."""
        links = self._workload.data.held_out.links
        text_TxE = by_number(measured.rows, "text")
        found = ranks.measured(ranks.ranks_both_ways(text_TxE, np.asarray(begun), links))
        return {
            f"retrieval/{way}/{name}": MeasuredValue(value, "percent" if "recall" in name else "")
            for name, by_way in found.items()
            for way, value in by_way.items()
        }


@gin.configurable(module="pangu_jax.workloads.multimodal")
class CaptionLikelihood(_OfPairs):
    """Nats per character of held-out captions, beside their picture and beside a wrong one.

    What the picture says of its caption is the difference. The end of a caption counts as a character; where
    a vocabulary has longer pieces, it is nats per piece.
    """

    def attach(self, workload: Workload) -> None:
        """UserError for a model without a decoder."""
        super().attach(workload)
        if not self._workload.config.text.memory_width:
            raise UserError("CaptionLikelihood: ImageTextModel.caption_weight = 0 learns no captions")

    def sources(self, batch_size: int) -> Sequence[Source]:
        """Every pair that is held out."""
        return list(self._workload.data.validation_sources(batch_size).values())

    def measure(self, variables: Variables, batch: Batch, begun: Tree, run: RunContext) -> Updates:
        """A row per pair: nats beside either picture, tokens, and whether there was another picture."""
        del begun
        params, forward = self._workload.complete(variables), self._workload.forward(run)
        tokens_BxT, weight_B = batch["tokens"], batch["weight"]
        here_BxT = (tokens_BxT > 0).astype(jnp.float32)
        memory = forward.memory(params, self._workload.seen(params, batch, run))

        def nats(memory_BxUxD: jax.Array) -> jax.Array:
            of_tokens = forward.text.caption_loss(params["text"], tokens_BxT, memory_BxUxD, here_BxT)[1]
            return jnp.sum(of_tokens * here_BxT, axis=1)

        def rolled(x: jax.Array) -> jax.Array:
            return jnp.roll(x, ROLLED % len(weight_B), axis=0)

        another_B = (rolled(batch["picture"]) != batch["picture"]) & (rolled(weight_B) > 0) & (weight_B > 0)
        rows = {
            "right": nats(memory),
            "wrong": nats(rolled(memory)),
            "tokens": jnp.sum(here_BxT, axis=1),
            "picture": batch["picture"],
            "another": another_B,
        }
        return Updates({}, rows)

    def finish(self, measured: Updates, begun: Tree) -> Mapping[str, MeasuredValue]:
        """Both, over the pairs for which there was another picture."""
        del begun
        rows = measured.rows
        counts = rows["another"]
        if not np.any(counts):
            return {}
        tokens = rows["tokens"][counts].sum()
        return {
            f"captions/nats_per_character/{which}_image": MeasuredValue(
                float(rows[which][counts].sum() / tokens), "nats per character"
            )
            for which in ("right", "wrong")
        }


def by_number(rows: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Embeddings in the order of the numbers of what they are of, without what fills up a batch."""
    counts = rows["weight"] > 0
    return rows["embedding"][counts][np.argsort(rows[name][counts], kind="stable")]
