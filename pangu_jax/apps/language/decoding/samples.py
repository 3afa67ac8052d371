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


def exhibits(workload: LanguageModel, variables: Variables, run: RunContext, per_task: int = 4) -> list[Text]:
    """A few held-out prompts of each task, what the model makes of them, and what is there in the data.

    Blanks (targets that begin with a sentinel) are filled with the likeliest tokens; continuations are drawn
    from the 20 likeliest at temperature 0.8, always with the same key.

    Returns:
      The tasks in turn; [] for data without text.
    """
    if not hasattr(workload.data, "vocabulary"):
        return []
    axes = workload.logical_axes().params
    params, run = inference_layout.of_trained(variables.params, axes, workload.dimensions(), run.dtype)
    generator = Generator(Forward(workload.model, run.placement, dtype=run.dtype), params)
    decode = workload.data.vocabulary.decode
    shown: list[list[Text]] = []
    for task, source in workload.validation_sources(per_task).items():
        prompts, references = _first_examples(source.batch(0))
        if max(map(len, prompts)) < SHORTEST_PROMPT or not min(map(len, prompts)):
            continue
        fills_blanks = all("<extra_id_0>" in decode(reference[:1]) for reference in references)
        settings = Greedy() if fills_blanks else Sampling(temperature=0.8, top_k=20)
        try:
            outputs = generator.generate([Query(prompt) for prompt in prompts], settings, LONGEST_OUTPUT)
        except UserError:  # a model that has diverged writes nothing, and its training run ends all the same
            continue
        shown.append(
            [
                Text(task, decode(prompt), decode(output.tokens), decode(reference[:LONGEST_OUTPUT]))
                for prompt, output, reference in zip(prompts, outputs, references, strict=True)
            ]
        )
    return [sample for row in zip(*shown, strict=True) for sample in row]  # the tasks in turn


def _first_examples(batch: dict[str, np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of each packed window its first example: inputs and targets, int32 [n] each."""
    inputs = zip(batch["encoder_input_tokens"], batch["encoder_segment_ids"], strict=True)
    targets = zip(batch["decoder_target_tokens"], batch["decoder_segment_ids"], strict=True)
    first_inputs, first_targets = (
        [tokens[segments == 1] for tokens, segments in rows] for rows in (inputs, targets)
    )
    return first_inputs, first_targets
