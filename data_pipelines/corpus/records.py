"""What the corpus keeps of a document: the record of the ArrayRecord files and the row of Parquet."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from data_pipelines import array_records
from data_pipelines.corpus import frames

CLUSTER_SIZE = "cluster_size"  # documents that this one represents


def features():
    """The TFDS features: id, source, url ("" where it is not known), text, cluster_size uint32 []."""
    import tensorflow_datasets as tfds

    texts = {name: tfds.features.Text() for name in frames.SCHEMA}
    return tfds.features.FeaturesDict({**texts, CLUSTER_SIZE: tfds.features.Scalar(np.uint32)})


def typed(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns of a record; a document that nobody counted represents itself."""
    if CLUSTER_SIZE not in frame.columns:
        frame = frame.with_columns(pl.lit(1).alias(CLUSTER_SIZE))
    return frame.select(*frames.SCHEMA, pl.col(CLUSTER_SIZE).cast(pl.UInt32))


def examples(frame: pl.DataFrame) -> Iterator[bytes]:
    """Serialized, a record per row of `typed`."""
    packed = frame.with_columns(pl.col(*frames.SCHEMA).fill_null("").cast(pl.Binary))
    for row in packed.iter_rows():
        yield array_records.example({name: [value] for name, value in zip(frame.columns, row, strict=True)})
