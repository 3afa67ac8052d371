"""What a language model writes: blanks filled in and texts continued, from held-out documents."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.apps.language.decoding.generator import Generator
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.settings import Greedy, Sampling
from pangu_jax.errors import UserError
from pangu_jax.workloads.language import LanguageModel

SHORTEST_PROMPT = 8  # tokens; an objective without a prompt has nothing to show
LONGEST_OUTPUT = 48


def samples(
    workload: LanguageModel, params: Any, dtype: jnp.dtype, per_task: int = 4
) -> list[dict[str, str]]:
    """A few held-out prompts of each task, what the model makes of them, and what stood there.

    Blanks (targets that begin with a sentinel) are filled with the likeliest tokens; continuations are drawn
    from the 20 likeliest at temperature 0.8, always with the same key.

    Returns:
      {"task", "prompt", "output", "reference"} each, as text, the tasks in turn; [] for data without text.
    """
    if not hasattr(workload.data, "vocabulary"):
        return []
    params = jax.device_put(jax.device_get(params))  # on one device, whatever mesh they were trained on
    generator = Generator(workload.model, params, dtype)
    decode = workload.data.vocabulary.decode
    shown: list[list[dict[str, str]]] = []
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
                {
                    "task": task,
                    "prompt": decode(prompt),
                    "output": decode(output.tokens),
                    "reference": decode(reference[:LONGEST_OUTPUT]),
                }
                for prompt, output, reference in zip(prompts, outputs, references, strict=True)
            ]
        )
    return [sample for row in zip(*shown, strict=True) for sample in row]  # the tasks in turn


def _first_examples(batch: dict[str, np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of each packed window its first example: inputs and targets, int32 [n] each."""
    inputs = zip(batch["encoder_input_tokens"], batch["encoder_segment_ids"], strict=True)
    targets = zip(batch["decoder_target_tokens"], batch["decoder_segment_ids"], strict=True)
    return tuple([tokens[segments == 1] for tokens, segments in rows] for rows in (inputs, targets))
