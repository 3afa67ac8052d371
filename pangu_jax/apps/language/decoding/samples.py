"""What a language model writes: blanks filled in and texts continued, from held-out documents."""

import numpy as np

from pangu_jax.apps.language.decoding.generator import Generator
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.settings import Greedy, Sampling
from pangu_jax.errors import UserError
from pangu_jax.runs import inference_layout
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.exhibits import Text
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model.forward import Forward

SHORTEST_PROMPT = 8  # tokens; an objective without a prompt has nothing to show
LONGEST_OUTPUT = 48
# Of small models: the likeliest tokens go round in circles, and the unlikeliest are noise.
DRAWN = Sampling(temperature=0.8, top_p=0.9, repetition_penalty=1.2, no_repeat_ngram=3)


def exhibits(workload: LanguageModel, variables: Variables, run: RunContext, per_task: int = 4) -> list[Text]:
    """A few held-out prompts of each task, what the model makes of them, and what is there in the data.

    Blanks are filled and texts continued with the likeliest tokens, and with drawn ones: as the recipe says
    (`LanguageModel.samples`), and by `DRAWN` where it says nothing. The same run draws the same.

    Returns:
      The tasks in turn; [] for data without text.
    """
    if not hasattr(workload.data, "vocabulary"):
        return []
    axes = workload.logical_axes().params
    params, run = inference_layout.of_trained(variables.params, axes, workload.dimensions(), run)
    vocabulary = workload.data.vocabulary
    generator = Generator.of(
        Forward(workload.model, run.placement, dtype=run.dtype, kernel=run.kernel), params, vocabulary
    )
    decode, start = vocabulary.decode, vocabulary.special.start
    drawing = workload.samples if isinstance(workload.samples, Sampling) else DRAWN
    shown: list[list[Text]] = []
    for task, source in workload.validation_sources(per_task).items():
        prompts, references = _first_examples(source.batch(0), start)
        if max(map(len, prompts)) < SHORTEST_PROMPT or not min(map(len, prompts)):
            continue
        nothing = np.zeros(0, np.int32)
        alone = "encoder" not in workload.model.towers
        asked = [
            Query(nothing, prompt, start=start) if alone else Query(prompt, start=start) for prompt in prompts
        ]
        try:
            likeliest, drawn = (generator.generate(asked, way, LONGEST_OUTPUT) for way in (Greedy(), drawing))
        except UserError:  # a model that has diverged writes nothing, and its training run ends all the same
            continue
        texts = [[decode(text.tokens) for text in written] for written in (likeliest, drawn)]
        ours = [decode(prompt) for prompt in prompts], texts[0]
        theirs = [decode(reference[:LONGEST_OUTPUT]) for reference in references]
        shown.append([Text(task, *row) for row in zip(*ours, theirs, texts[1], strict=True)])
    return [sample for row in zip(*shown, strict=True) for sample in row]  # the tasks in turn


def _first_examples(batch: dict[str, np.ndarray], start: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of each packed window its first example: inputs and targets, int32 [n] each; without an encoder the
    halves of its text."""
    if "encoder_input_tokens" not in batch:
        names = ("decoder_input_tokens", "decoder_target_tokens", "decoder_segment_ids")
        rows = zip(*(batch[name] for name in names), strict=True)
        read = [(inputs[segments == 1], targets[segments == 1]) for inputs, targets, segments in rows]
        # Where nothing stands before a text, its first token is only read.
        first = [np.concatenate([inputs[: int(start < 0)], targets]) for inputs, targets in read]
        return [text[: len(text) // 2] for text in first], [text[len(text) // 2 :] for text in first]
    inputs = zip(batch["encoder_input_tokens"], batch["encoder_segment_ids"], strict=True)
    targets = zip(batch["decoder_target_tokens"], batch["decoder_segment_ids"], strict=True)
    first_inputs, first_targets = (
        [tokens[segments == 1] for tokens, segments in rows] for rows in (inputs, targets)
    )
    return first_inputs, first_targets
