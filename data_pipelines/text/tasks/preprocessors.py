"""seqio preprocessors: from text to pieces as the token cache cuts them, and from a piece to an example."""

import dataclasses

import numpy as np

from data_pipelines.text import packing
from data_pipelines.text.denoising import DenoisingObjective, Piece
from data_pipelines.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Windows:
    """What documents are cut and corrupted for: tokens of the encoder and of the decoder."""

    vocabulary: Vocabulary
    encoder_length: int
    decoder_length: int


def tokenise_and_cut(windows: Windows, objective: DenoisingObjective):
    """A seqio preprocessor: text to pieces {"tokens" int32 [n], "word_starts" bool [n], "final" bool []}."""
    import tensorflow as tf

    def pieces(text: bytes):
        parts = cut_text(text.decode(), windows.vocabulary, objective, windows)
        joined = np.concatenate([np.zeros(0, np.int32), *(piece.tokens for piece in parts)])
        starts = np.concatenate([np.zeros(0, bool), *(piece.word_starts for piece in parts)])
        lengths = np.array([len(piece.tokens) for piece in parts], np.int64)
        return joined, starts, lengths, np.array([piece.final for piece in parts], bool)

    def cut(example):
        kinds = (tf.int32, tf.bool, tf.int64, tf.bool)
        tokens, starts, lengths, final = tf.numpy_function(pieces, [example["text"]], kinds, stateful=False)
        for flat in (tokens, starts, lengths, final):
            flat.set_shape([None])
        ends = tf.cumsum(lengths)

        def piece(index):
            stretch = slice(ends[index] - lengths[index], ends[index])
            return {"tokens": tokens[stretch], "word_starts": starts[stretch], "final": final[index]}

        return tf.data.Dataset.range(tf.size(lengths, tf.int64)).map(piece)

    return lambda dataset: dataset.flat_map(cut)


def cut_text(
    text: str, vocabulary: Vocabulary, objective: DenoisingObjective, windows: Windows
) -> list[Piece]:
    """The pieces of one document, as the token cache holds them."""
    tokens = vocabulary.encode(text)
    starts = vocabulary.word_starts(text, tokens)
    cuts = packing.cut(0, starts, objective, windows.encoder_length, windows.decoder_length)
    return [Piece(tokens[c.begin : c.end], starts[c.begin : c.end], c.end == len(tokens)) for c in cuts]


def denoise(windows: Windows, objective: DenoisingObjective):
    """A seqio preprocessor: a piece to {"inputs", "targets"}, by the same objective as everywhere."""
    import seqio
    import tensorflow as tf

    special = windows.vocabulary.special

    def corrupt(tokens, starts, final, seed):
        rng = np.random.default_rng(seed.astype(np.uint32).tolist())
        pieces = [Piece(tokens, starts, bool(final))]
        (example,) = objective(pieces, rng, special, windows.encoder_length, windows.decoder_length)
        return example.inputs, example.targets

    def denoise(piece, seed):
        arguments = [piece["tokens"], piece["word_starts"], piece["final"], seed]
        inputs, targets = tf.numpy_function(corrupt, arguments, (tf.int32, tf.int32), stateful=False)
        inputs.set_shape([None])
        targets.set_shape([None])
        return {"inputs": inputs, "targets": targets}

    return seqio.map_over_dataset(denoise, num_seeds=1)
