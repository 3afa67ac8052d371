"""What a language model writes: blanks filled in and texts continued, from held-out documents."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.inference.decoding import generate
from pangu_jax.models.forward import Forward
from pangu_jax.workloads.language import LanguageModel

SHORTEST_PROMPT = 8  # tokens; an objective without a prompt has nothing to show
LONGEST_OUTPUT = 48
EOS = 1  # T5's, and that of every vocabulary of data_pipelines


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
    forward = Forward(workload.model, dtype=dtype)
    params = jax.device_put(jax.device_get(params))  # on one device, whatever mesh they were trained on
    decode = workload.data.vocabulary.decode
    shown: list[list[dict[str, str]]] = []
    for task, source in workload.validation_sources(per_task).items():
        prompts, references = _first_examples(source.batch(0))
        if max(map(np.count_nonzero, prompts)) < SHORTEST_PROMPT:
            continue
        fills_blanks = all("<extra_id_0>" in decode(reference[:1]) for reference in references)
        drawing = {} if fills_blanks else {"temperature": 0.8, "top_k": 20}
        outputs = generate(
            forward,
            params,
            jnp.asarray(prompts),
            jax.random.key(0),
            length=LONGEST_OUTPUT,
            end=EOS,
            **drawing,
        )
        shown.append(
            [
                {
                    "task": task,
                    "prompt": decode(prompt),
                    "output": decode(output),
                    "reference": decode(reference[:LONGEST_OUTPUT]),
                }
                for prompt, output, reference in zip(prompts, np.asarray(outputs), references, strict=True)
            ]
        )
    return [sample for row in zip(*shown, strict=True) for sample in row]  # the tasks in turn


def _first_examples(batch: dict[str, np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Of each packed window its first example: inputs [B, S] padded with 0, and its targets."""
    first = batch["encoder_segment_ids"] == 1
    prompts = np.where(first, batch["encoder_input_tokens"], 0)
    pairs = zip(batch["decoder_target_tokens"], batch["decoder_segment_ids"], strict=True)
    return prompts, [targets[segments == 1] for targets, segments in pairs]
