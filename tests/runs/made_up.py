"""Run directories as training leaves them, without the training."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines.text import vocabulary
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

TEXTS = ["这家店的东西很好，价格也便宜。", "质量太差了，不会再买，失望。"]
SHAPE = {
    "vocab_size": 512,
    "d_model": 32,
    "d_ff": 32,
    "heads": 4,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "position": "relative",
}
CONFIG = EncoderDecoderConfig(**SHAPE)
RECIPE = f"""
import data_pipelines.text.tasks.mixture
import pangu_jax.workloads.language

train.workload = @LanguageModel()
train.steps = 8
train.batch_size = 8
LanguageModel.model = @EncoderDecoder()
LanguageModel.data = @corpus()
corpus.path = "/a/corpus/that/is/not/there"
corpus.objectives = {{"prefix": @PrefixLM()}}
corpus.encoder_length = 32
corpus.decoder_length = 32
{"".join(f"EncoderDecoder.{name} = {value!r}{chr(10)}" for name, value in SHAPE.items())}
"""


def words(folder: Path) -> vocabulary.Vocabulary:
    """A vocabulary of the texts."""
    vocabulary.train(TEXTS * 50, 420, folder / "made.model")
    return vocabulary.Vocabulary(folder / "made.model")


def params(seed: int = 0) -> dict[str, Any]:
    """Parameters that say something else for each prompt."""
    return jax.tree.map(lambda w: 2 * w, architecture.init(CONFIG, jax.random.key(seed)))


def language_run(path: Path, vocabulary: vocabulary.Vocabulary, bindings: str = "", steps=(4, 8)) -> Path:
    """A run of a language model; each of its checkpoints has parameters of its own."""
    run = write(path, RECIPE + bindings, {step: params(step) for step in steps}, vocabulary.fingerprint)
    (path / "vocabulary.model").write_bytes(vocabulary.file.read_bytes())
    return run


def write(
    path: Path, recipe: str, checkpoints: dict[int, Any], vocabulary: str = "", extra: Any = None
) -> Path:
    """A run directory with these parameters at these steps, and an optimizer's state that nobody needs."""
    with RunDirectory(path) as directory, Checkpoints(directory.checkpoints) as writer:
        directory.write_recipe(recipe)
        for step, params in checkpoints.items():
            state = {
                "step": jnp.int32(step),
                "params": params,
                "opt_state": jax.tree.map(jnp.zeros_like, params),
            }
            if extra is not None:
                state["extra"] = extra
            writer.save(step, state, {"recipe": recipe, "fingerprint": {"vocabulary": vocabulary}})
    return path
