"""`evaluate_retrieval`: what a finished run finds, and what its captions are worth, with intervals."""

from pathlib import Path
from typing import Any, NamedTuple

import gin
import jax
import numpy as np

from data_pipelines.images.images import Images
from data_pipelines.pairs.pairs import ImageTextPairs
from pangu_jax.apps.multimodal import caption_scores, recall, zero_shot
from pangu_jax.apps.multimodal.caption_scores import CaptionScores
from pangu_jax.apps.multimodal.captioning import Captioner
from pangu_jax.apps.multimodal.embedding import Embedder
from pangu_jax.apps.multimodal.recall import RetrievalScores
from pangu_jax.apps.multimodal.zero_shot import ZeroShotScores
from pangu_jax.errors import UserError
from pangu_jax.evaluation.bootstrap import grouped_interval
from pangu_jax.evaluation.evaluators import Collector
from pangu_jax.parallel import rules
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.recipes import plain_errors
from pangu_jax.runs import opening
from pangu_jax.runs.inference_layout import ANY, Devices
from pangu_jax.runs.opening import OpenedRun
from pangu_jax.workloads.multimodal import CaptionLikelihood, ImageTextModel, Retrieval
from pangu_jax.workloads.multimodal.evaluators import by_number


class MeasuredRetrieval(NamedTuple):
    """What was found.

    Attributes:
      step: of the checkpoint.
      pictures, texts: how many were held out.
      retrieval: recalls and ranks with intervals; None for a model without embeddings.
      by_sentence: the same where a caption is right of every picture that has one of the same words.
      nats: per character, "right_image" and "wrong_image"; {} for a model without captions.
      gap_interval: of wrong - right, 95% of draws of pictures.
      scores: of captions that are written; None where none are.
      zero_shot: of labelled pictures by the names of their classes; None where none were given.
    """

    step: int
    pictures: int
    texts: int
    retrieval: RetrievalScores | None
    by_sentence: RetrievalScores | None
    nats: dict[str, float]
    gap_interval: tuple[float, float] | None
    scores: CaptionScores | None
    zero_shot: ZeroShotScores | None


@plain_errors()
@gin.configurable
def evaluate_retrieval(
    run_dir: str = gin.REQUIRED,
    data: ImageTextPairs | None = None,
    batch_size: int = 64,
    written: int = 256,
    segmentation: str = "characters",
    labelled: Images | None = None,
    templates: str | None = None,
    step: int | None = None,
    devices: Devices = ANY,
) -> MeasuredRetrieval:
    """Measure a run of pictures and captions on pairs that are held out.

    Args:
      run_dir: the model's run.
      data: the pairs; their held-out side counts.
      batch_size: pictures or texts at once.
      written: pictures of which captions are written and scored; 0 for none.
      segmentation: what captions are scored by.
      labelled: pictures whose classes have names that a text of the run can say, @images(): those held out
        are told apart by the names alone.
      templates: a TOML file of texts that a name is put into; see `zero_shot`.
      step: the checkpoint; the best or the newest when None.
      devices: where the run is opened.

    Raises:
      UserError, DataError: the run is of another family, or nothing is held out.
    """
    if data is None:
        raise UserError("evaluate_retrieval.data is not set: give @pairs()")
    if batch_size < 1 or written < 0:
        raise UserError("evaluate_retrieval: batch_size must be at least 1 and written at least 0")
    run = opening.open_run(run_dir, step, devices, family="multimodal", float32=True)
    measuring = _Measuring(run, data, batch_size)
    held_out = measuring.held_out
    retrieval, by_sentence = measuring.retrieval()
    nats, gap = measuring.likelihood()
    scores = measuring.written(written, segmentation) if written else None
    counts = held_out.picture_count, len(held_out.text)
    found = retrieval, by_sentence, nats, gap, scores
    named = None if labelled is None else measuring.named(labelled, templates)
    return MeasuredRetrieval(run.manifest["step"], *counts, *found, named)


class _Measuring:
    """A run and the held-out side of some pairs."""

    def __init__(self, run: OpenedRun, data: ImageTextPairs, batch_size: int):
        workload: Any = run.workload
        model = workload.config.image
        if (data.size, data.channels) != (model.size, model.channels):
            raise UserError(
                f"pairs gives pictures of {data.size} pixels and {data.channels} channels, and the run has "
                f"size {model.size} and channels {model.channels}: leave pairs.size and pairs.mode out"
            )
        # In the run's own words, whatever the characters of these pairs are.
        own = data.with_vocabulary(workload.data.vocabulary)
        self.held_out = own.held_out
        if not self.held_out.picture_count:
            raise UserError("pairs holds nothing out: give pairs.validation, or a validation_fraction")
        workload.data = own
        self._workload: ImageTextModel = workload
        mesh = run.spread.mesh or make_mesh(Layout(data=1), [run.spread.backend.devices[0]])
        shardings = rules.storage_shardings(mesh, workload.logical_axes())
        self._variables = workload.evaluated(jax.device_put(run.variables, shardings))
        self._run = run.spread.run
        self._collect = Collector(workload, self._run, mesh, batch_size)
        self._batch_size = batch_size

    def retrieval(self) -> tuple[RetrievalScores | None, RetrievalScores | None]:
        """By the pairs that the source tells of, and by sentences."""
        if self._workload.config.contrast == "none":
            return None, None
        evaluator, held_out = Retrieval(), self.held_out
        evaluator.attach(self._workload)
        pictures = [held_out.pictures_once(self._batch_size)]
        picture_PxE = by_number(self._collect(evaluator.seen, self._variables, pictures).rows, "picture")
        texts = self._collect(evaluator.measure, self._variables, evaluator.sources(self._batch_size), ({},))
        text_TxE = by_number(texts.rows, "text")
        by_pair = recall.evaluate(text_TxE, picture_PxE, held_out.links)
        return by_pair, recall.evaluate(text_TxE, picture_PxE, held_out.links_by_sentence)

    def likelihood(self) -> tuple[dict[str, float], tuple[float, float] | None]:
        """Nats per character beside the right and a wrong image, and the interval of their difference."""
        if not self._workload.config.text.memory_width:
            return {}, None
        evaluator = CaptionLikelihood()
        evaluator.attach(self._workload)
        rows = self._collect(
            evaluator.measure, self._variables, evaluator.sources(self._batch_size), ({},)
        ).rows
        counts = rows["another"]
        if not np.any(counts):
            return {}, None
        right, wrong, tokens = (rows[name][counts] for name in ("right", "wrong", "tokens"))

        def gap(weight_N: np.ndarray) -> float:
            return float(np.sum(weight_N * (wrong - right)) / max(np.sum(weight_N * tokens), 1e-9))

        nats = {"right_image": right.sum() / tokens.sum(), "wrong_image": wrong.sum() / tokens.sum()}
        return {name: float(value) for name, value in nats.items()}, grouped_interval(
            gap, rows["picture"][counts]
        )

    def written(self, most: int, segmentation: str) -> CaptionScores | None:
        """Scores of captions that are written of the first pictures, beside all of each one's own."""
        count = min(most, self.held_out.picture_count)
        if not self._workload.config.text.memory_width or count < 2:
            return None
        captioner = Captioner(self._workload, self._variables.params, self._run)
        written: list[str] = []
        source = self.held_out.pictures_once(self._batch_size)
        for number in range(-(-count // self._batch_size)):
            written += captioner(source.batch(number)["image"][:, -1])
        own = [[self.held_out.text[int(t)] for t in self.held_out.texts_of(p)] for p in range(count)]
        return caption_scores.evaluate(written[:count], own, segmentation)

    def named(self, labelled: Images, templates: str | None) -> ZeroShotScores:
        """Labelled pictures that are held out, by the names of their classes.

        Raises:
          UserError, DataError: pictures of another size, fewer than two classes, or no file of templates.
        """
        model = self._workload.config.image
        if (labelled.size, labelled.channels) != (model.size, model.channels):
            raise UserError(
                f"images gives pictures of {labelled.size} pixels and {labelled.channels} channels, and the "
                f"run has size {model.size} and channels {model.channels}: set both so"
            )
        embedder = Embedder(self._workload, self._variables.params, self._run)
        texts = zero_shot.read_templates(Path(templates) if templates else None)
        class_CxE = zero_shot.class_vectors(labelled.classes, embedder.texts, texts)
        views, label = [], []
        source = labelled.once(labelled.measured, self._batch_size)
        for number in range(len(source)):
            batch = source.batch(number)
            counts = (batch["weight"] > 0) & (batch["label"] >= 0)
            views.append(embedder.pictures(batch["image"][:, -1])[counts])
            label.append(batch["label"][counts])
        return zero_shot.evaluate(np.concatenate(views), class_CxE, np.concatenate(label), labelled.classes)
