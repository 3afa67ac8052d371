"""The same tasks and mixture for seqio: `quickstart_span`, `quickstart_prefix`, ... and `quickstart`.

seqio defines, Grain iterates. Documents, vocabulary, cuts and objectives are those of the token cache; seqio
packs by itself, and draws its own corruption. Importing this module is cheap, `register` loads TensorFlow.
"""

from data_pipelines.text.tasks.mixture import Corpus
from data_pipelines.text.tasks.preprocessors import Windows, denoise, tokenise_and_cut


def register(corpus: Corpus) -> list[str]:
    """Adds the corpus's tasks and, under `corpus.name`, their mixture to seqio's registries.

    A task gives {"inputs", "targets"} int32 [n]; eos is where the objective puts it. Names registered
    before are replaced, so that a process may look at one corpus after another.

    Returns:
      the tasks' names, then the mixture's.
    """
    import seqio
    import tensorflow as tf

    windows = Windows(corpus.vocabulary, corpus.encoder_length, corpus.decoder_length)
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
                tokenise_and_cut(windows, objective),
                seqio.CacheDatasetPlaceholder(),
                denoise(windows, objective),
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
