"""Trains the classifier of `quality` on samples of good and bad text. Needs scikit-learn; scoring not."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from data_pipelines.corpus.cleaning.batch import batches
from data_pipelines.corpus.cleaning.chinese import chinese_rules
from data_pipelines.corpus.cleaning.quality import Features, QualityClassifier, score
from data_pipelines.corpus.cleaning.rules import Edit
from data_pipelines.errors import DataError
from data_pipelines.text import folder

_FEWEST = 50  # documents of each kind
# Shares of n-grams are small numbers; a constant brings them to where the penalty on weights is sensible.
_SCALE = 100.0


def train_quality(
    good: Sequence[str | Path],
    bad: Sequence[str | Path],
    out: str | Path,
    features: Features | None = None,
    held_out: float = 0.2,
    penalty: float = 1.0,
    text_field: str = "text",
) -> dict[str, float]:
    """Trains a classifier of good and bad text, and writes its weights to `out` (.npz).

    Logistic regression with both kinds weighted alike, on texts as the edits of `chinese_rules` leave them.
    Documents are held out by a hash of their text, so that copies stay on one side.

    Args:
      good: files, folders or globs of .txt and .jsonl, plain or compressed.
      bad: likewise.
      held_out: share of the documents to test on.
      penalty: of large weights; more of it for fewer samples.
      text_field: of a line of .jsonl.

    Returns:
      accuracy (of both kinds alike) and auc on documents held out; the same after training on shuffled
      labels, shuffled_accuracy and shuffled_auc, which are about 0.5 where the test is sound; documents,
      held_out_documents.

    Raises:
      DataError: scikit-learn is not installed, files cannot be read, or there are too few documents.
    """
    try:
        from sklearn.metrics import balanced_accuracy_score, roc_auc_score
    except ImportError:
        raise DataError("train_quality needs scikit-learn: pip install scikit-learn") from None
    features = features or Features()
    texts, labels = [], []
    for label, paths in ((1, good), (0, bad)):
        own = [document.text for path in paths for document in folder.documents(path, text_field)]
        if len(own) < _FEWEST:
            kind = "good" if label else "bad"
            raise DataError(f"train_quality: {len(own)} documents of {kind} text; give at least {_FEWEST}")
        texts += own
        labels += [label] * len(own)
    texts, labels = _edited(pl.Series(texts, dtype=pl.String)), np.array(labels)
    tested = np.array([_place(text) < held_out for text in texts])
    if (
        min(np.bincount(labels[tested], minlength=2).min(), np.bincount(labels[~tested], minlength=2).min())
        < 2
    ):
        raise DataError(
            f"train_quality: too few different documents to hold out {held_out} of each kind; give more"
        )
    shuffled = np.random.default_rng(0).permutation(labels[~tested])
    report: dict[str, float] = {"documents": len(labels), "held_out_documents": int(tested.sum())}
    for prefix, taught in (("shuffled_", shuffled), ("", labels[~tested])):
        weights = _fit(texts.filter(~tested), taught, features, penalty)
        scores = np.concatenate([score(batch, weights) for _, batch in batches(texts.filter(tested))])
        report[f"{prefix}accuracy"] = float(balanced_accuracy_score(labels[tested], scores >= 0.5))
        report[f"{prefix}auc"] = float(roc_auc_score(labels[tested], scores))
    weights.save(out)
    return report


def _edited(texts: pl.Series) -> pl.Series:
    edited = []
    for _, batch in batches(texts):
        for rule in chinese_rules(personal_data=False):
            if isinstance(rule, Edit):
                batch = rule.edit(batch).batch
        edited.append(batch.texts.rename("text"))
    return pl.concat(edited)


def _place(text: str) -> float:
    """In [0, 1), by the text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def _fit(texts: pl.Series, labels: np.ndarray, features: Features, penalty: float) -> QualityClassifier:
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression

    shares = vstack([_shares(batch, features) for _, batch in batches(texts)])
    model = LogisticRegression(C=1 / penalty, class_weight="balanced", solver="liblinear", max_iter=500)
    model.fit(shares, labels)
    return QualityClassifier(
        features, (model.coef_[0] * _SCALE).astype(np.float32), float(model.intercept_[0])
    )


def _shares(batch, features: Features):
    """A sparse matrix [documents, 2^bits]: share of a document's n-grams in each bucket, times _SCALE."""
    from scipy.sparse import csr_matrix

    head = features.head(batch)
    rows, columns = [], []
    for n in features.lengths:
        sizes = features.ends(head, n) - head.starts[:-1]
        document = np.repeat(np.arange(len(head)), sizes)
        place = np.arange(len(document)) + np.repeat(head.starts[:-1] - np.cumsum(sizes) + sizes, sizes)
        rows.append(document)
        columns.append(features.buckets(head, n)[place])
    row, column = np.concatenate(rows), np.concatenate(columns)
    weight = _SCALE / np.bincount(row, minlength=len(head))[row]
    return csr_matrix((weight, (row, column)), shape=(len(head), 2**features.bits))
