"""The same tasks and mixture for seqio: `quickstart_span`, `quickstart_prefix`, ... and `quickstart`.

seqio defines, Grain iterates. Documents, vocabulary, cuts and objectives are those of the token cache; seqio
packs by itself, and draws its own corruption. Importing this module is cheap, `register` loads TensorFlow.
"""

import numpy as np

from data_pipelines.text import packing
from data_pipelines.text.denoising import Objective, Piece
from data_pipelines.text.tasks.mixture import Corpus
from data_pipelines.text.vocabulary import Vocabulary


def register(corpus: Corpus) -> list[str]:
    """Adds the corpus's tasks and, under `corpus.name`, their mixture to seqio's registries.

    A task gives {"inputs", "targets"} int32 [n]; eos is where the objective puts it. Names registered
    before are replaced, so that a process may look at one corpus after another.

    Returns:
      the tasks' names, then the mixture's.
    """
    import seqio
    import tensorflow as tf

    seqio_vocabulary = corpus.vocabulary.seqio()
    features = {
        name: seqio.Feature(seqio_vocabulary, add_eos=False, dtype=tf.int32) for name in ("inputs", "targets")
    }
    for name, objective in zip(corpus.task_names, corpus.objectives.values(), strict=True):
        seqio.TaskRegistry.remove(name)
        seqio.TaskRegistry.add(
            name,
            source=seqio.FunctionDataSource(
                lambda split, shuffle_files, seed=None: _documents(corpus, split),
                splits=("train", "validation"),
            ),
            preprocessors=[
                tokenise_and_cut(corpus, objective),
                seqio.CacheDatasetPlaceholder(),
                denoise(corpus, objective),
            ],
            output_features=features,
        )
    weights = [
        (name, float(corpus.weights.get(objective, 0)))
        for name, objective in zip(corpus.task_names, corpus.objectives, strict=True)
    ]
    seqio.MixtureRegistry.remove(corpus.name)
    seqio.MixtureRegistry.add(corpus.name, [(name, weight) for name, weight in weights if weight > 0])
    return [*corpus.task_names, corpus.name]


def _documents(corpus: Corpus, split: str):
    import tensorflow as tf

    texts = [document.text for document in corpus.prepared.documents[split]]
    return tf.data.Dataset.from_tensor_slices({"text": texts})


def tokenise_and_cut(corpus: Corpus, objective: Objective):
    """A seqio preprocessor: text to pieces {"tokens" int32 [n], "word_starts" bool [n], "final" bool []}."""
    import tensorflow as tf

    def pieces(text: bytes):
        parts = cut_text(text.decode(), corpus.vocabulary, objective, corpus)
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


def cut_text(text: str, vocabulary: Vocabulary, objective: Objective, corpus: Corpus) -> list[Piece]:
    """The pieces of one document, as the token cache holds them."""
    tokens = vocabulary.encode(text)
    starts = vocabulary.word_starts(text, tokens)
    cuts = packing.cut(0, starts, objective, corpus.encoder_length, corpus.decoder_length)
    return [Piece(tokens[c.begin : c.end], starts[c.begin : c.end], c.end == len(tokens)) for c in cuts]


def denoise(corpus: Corpus, objective: Objective):
    """A seqio preprocessor: a piece to {"inputs", "targets"}, by the same objective as everywhere."""
    import seqio
    import tensorflow as tf

    special = corpus.vocabulary.special

    def corrupt(tokens, starts, final, seed):
        rng = np.random.default_rng(seed.astype(np.uint32).tolist())
        pieces = [Piece(tokens, starts, bool(final))]
        (example,) = objective(pieces, rng, special, corpus.encoder_length, corpus.decoder_length)
        return example.inputs, example.targets

    def denoise(piece, seed):
        arguments = [piece["tokens"], piece["word_starts"], piece["final"], seed]
        inputs, targets = tf.numpy_function(corrupt, arguments, (tf.int32, tf.int32), stateful=False)
        inputs.set_shape([None])
        targets.set_shape([None])
        return {"inputs": inputs, "targets": targets}

    return seqio.map_over_dataset(denoise, num_seeds=1)
