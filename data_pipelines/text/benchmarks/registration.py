"""A benchmark task for seqio: text to text under one of its patterns. `register` loads TensorFlow."""

from collections.abc import Sequence
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.text.benchmarks.definition import get
from data_pipelines.text.benchmarks.task import data_folder
from data_pipelines.text.vocabulary import Vocabulary


def register(
    name: str,
    vocabulary: Vocabulary,
    pattern: str = "ask",
    data_dir: str | Path | None = None,
    metric_fns: Sequence = (),
) -> str:
    """Adds the task to seqio's registry, or replaces it.

    An example is {"inputs", "targets"} int32 [n] with eos behind the targets, and behind the inputs where the
    vocabulary is T5's, and the texts as "inputs_pretokenized", "targets_pretokenized", beside them. The
    target is the pattern's prefix and its right answer; a split whose labels are kept has empty targets. An
    entailment pattern gives an example for every label.

    Args:
      name: of the task; seqio's name is it with "_" for "/", a "_" and the pattern's name.
      pattern: one that needs no demonstrations.
      metric_fns: seqio's; scores are otherwise the business of whoever evaluates.

    Returns:
      seqio's name, for seqio.get_mixture_or_task.

    Raises:
      DataError: an unknown task or pattern, or none of its splits is there.
    """
    import seqio
    import tensorflow as tf

    task = get(name)
    if pattern not in task.patterns:
        raise DataError(f"{name}: no pattern {pattern!r}; there are {', '.join(task.patterns)}")
    chosen, data = task.patterns[pattern], data_folder(data_dir)
    if not (splits := task.splits(data)):
        raise DataError(f"{name}: nothing of it in {data}; get it from {task.published.owners}")

    def dataset(split: str, shuffle_files: bool, seed: int | None = None):
        queries = [query for example in task.examples(split, data) for query in chosen.queries(example)]
        targets = [query.prefix + query.reference if query.reference else "" for query in queries]
        texts = {"inputs": [query.inputs for query in queries], "targets": targets}
        return tf.data.Dataset.from_tensor_slices(texts)

    known_as = f"{name.replace('/', '_')}_{pattern}"
    feature_vocabulary = vocabulary.seqio()
    seqio.TaskRegistry.remove(known_as)
    seqio.TaskRegistry.add(
        known_as,
        source=seqio.FunctionDataSource(dataset, splits=splits),
        preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
        output_features={
            # T5's encoder reads eos behind a text.
            "inputs": seqio.Feature(feature_vocabulary, add_eos=not vocabulary.special.modes, required=False),
            "targets": seqio.Feature(feature_vocabulary, add_eos=True),
        },
        metric_fns=list(metric_fns),
    )
    return known_as
