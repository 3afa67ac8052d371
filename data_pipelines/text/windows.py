"""Windows of text: the record that the token cache keeps of one, and the task that makes examples of them."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines import array_records, cache
from data_pipelines.batches import Batch
from data_pipelines.text import packing
from data_pipelines.text.denoising import DenoisingObjective, Piece
from data_pipelines.text.vocabulary import SpecialTokens


class Window(NamedTuple):
    """The pieces that share a window, and for each where it is from: `<document id>[begin:end]` in tokens."""

    pieces: list[Piece]
    ids: list[str]


def features():
    """The TFDS features of a record: a window's pieces end to end.

    tokens int32 [n] · word_starts uint8 [n] · lengths int32 [pieces] · final uint8 [pieces] · ids [pieces].
    """
    import tensorflow_datasets as tfds

    def array(dtype):
        return tfds.features.Tensor(shape=(None,), dtype=dtype, encoding=tfds.features.Encoding.BYTES)

    return tfds.features.FeaturesDict(
        {
            "tokens": array(np.int32),
            "word_starts": array(np.uint8),
            "lengths": array(np.int32),
            "final": array(np.uint8),
            "ids": tfds.features.Sequence(tfds.features.Text()),
        }
    )


def serialize(window: Window) -> bytes:
    """A window as a tf.train.Example, as `features().serialize_example` makes it."""
    tokens = np.concatenate([piece.tokens for piece in window.pieces]).astype(np.int32)
    starts = np.concatenate([piece.word_starts for piece in window.pieces]).astype(np.uint8)
    lengths = np.array([len(piece.tokens) for piece in window.pieces], np.int32)
    final = np.array([piece.final for piece in window.pieces], np.uint8)
    return array_records.example(
        {
            "tokens": [tokens.tobytes()],
            "word_starts": [starts.tobytes()],
            "lengths": [lengths.tobytes()],
            "final": [final.tobytes()],
            "ids": [name.encode() for name in window.ids],
        }
    )


@functools.cache
def _example():
    """tf.train.Example. One thread alone asks for it first: TFDS 4.9 imports lazily, and the lock of that and
    Python's of a module wait for each other for ever, where two threads take them in turn."""
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example


def parse(record: bytes) -> Window:
    """The inverse of `serialize`."""
    feature = _example().FromString(record).features.feature

    def array(name: str, dtype) -> np.ndarray:
        return np.frombuffer(feature[name].bytes_list.value[0], dtype)

    ends = np.cumsum(array("lengths", np.int32))[:-1]
    tokens = np.split(array("tokens", np.int32), ends)
    starts = np.split(array("word_starts", np.uint8).astype(bool), ends)
    final = array("final", np.uint8).astype(bool).tolist()
    ids = [name.decode() for name in feature["ids"].bytes_list.value]
    return Window([Piece(*fields) for fields in zip(tokens, starts, final, strict=True)], ids)


def write(root: Path, name: str, windows: Mapping[str, Sequence[Window]]) -> None:
    """Writes `windows` (by split) as the TFDS dataset `name` under `root`."""
    records = {split: map(serialize, members) for split, members in windows.items()}
    cache.write_dataset(root, name, records, features())


class WindowTask:
    """One objective over one split of a cache.

    Attributes:
      name: the objective's name in the mixture; index: its `task_id`; size: windows per epoch.
    """

    def __init__(
        self,
        root: Path,
        dataset: str,
        split: str,
        *,
        name: str,
        index: int,
        objective: DenoisingObjective,
        special: SpecialTokens,
        encoder_length: int,
        decoder_length: int,
    ):
        self.name, self.index = name, index
        self.lengths = (encoder_length, decoder_length)
        _example()  # before threads read ahead
        self.records = cache.records(root, dataset, split)
        self.size = len(self.records)
        self._objective, self._special = objective, special

    def window(self, record: bytes, rng: np.random.Generator) -> Batch:
        """A window's arrays (see packing.assemble) and `task_id` int32 []."""
        examples = self._objective(parse(record).pieces, rng, self._special, *self.lengths)
        row = packing.assemble(examples, *self.lengths, start=self._special.start)
        return row | {"task_id": np.asarray(self.index, np.int32)}

    def identity(self, record: bytes) -> str:
        """Names the window's pieces: `span: 199801.txt:16[0:254] pos.txt:7[0:23]`."""
        return f"{self.name}: {' '.join(parse(record).ids)}"

    def padding(self) -> Batch:
        """A window without loss, to fill a last batch."""
        return packing.empty(*self.lengths) | {"task_id": np.asarray(self.index, np.int32)}


def fill(windows: Sequence[Batch]) -> tuple[float, float]:
    """Share of the encoder's and of the decoder's positions that are not padding; 0 without an encoder."""

    def share(tower: str) -> float:
        segments = [window.get(f"{tower}_segment_ids", np.zeros(1)) for window in windows]
        return float(np.mean([(row > 0).mean() for row in segments]))

    return share("encoder"), share("decoder")
