"""Run directories of a tiny language model and of what was tuned on it, written without training."""

import dataclasses
import shutil
from pathlib import Path

import jax

from data_pipelines.text import vocabulary
from data_pipelines.text.vocabulary import Vocabulary
from pangu_jax.apps.language import loading
from pangu_jax.apps.language.tuning import stored
from pangu_jax.apps.language.tuning.stored_base import StoredBase
from pangu_jax.models.parameters import Tree
from pangu_jax.parallel.layout import Layout
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.inference_layout import Devices
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from tests.apps.language.tuning import toy
from tests.runs import made_up

STEP = 7
RECIPE = """
import pangu_jax.workloads.language

train.workload = @LanguageModel()
LanguageModel.model = @EncoderDecoder()
"""


def words(folder: Path, *texts: str, size: int = 420) -> Vocabulary:
    """A vocabulary of some sentences."""
    vocabulary.train(list(texts) * 50, size, folder / "made.model")
    return Vocabulary(folder / "made.model")


def model(known: Vocabulary, **changes) -> EncoderDecoderConfig:
    """The toy's shape for a vocabulary, with rows that a layout can divide."""
    return dataclasses.replace(toy.MODEL, vocab_size=-(-known.size // 8) * 8, **changes)


def keep(path: Path, known: Vocabulary, config: EncoderDecoderConfig, params: Tree | None = None) -> Path:
    """A run of `pangu train`; a model that has learnt nothing unless parameters are given."""
    if params is None:
        params = architecture.init(config, jax.random.key(0))
    shape = dataclasses.asdict(config).items()
    recipe = RECIPE + "".join(f"EncoderDecoder.{name} = {value!r}\n" for name, value in shape)
    shutil.rmtree(path / "checkpoints", ignore_errors=True)
    made_up.write(path, recipe, {STEP: params}, known.fingerprint)
    (path / "vocabulary.model").write_bytes(known.file.read_bytes())
    return path


def keep_tuned(path: Path, method, base_dir: Path, *, version_0_1: bool = False) -> Tree:
    """What `pangu tune` leaves, of a method that has learnt something; returns the complete parameters."""
    base, here = loading.load(base_dir), Devices("cpu", Layout(data=-1))
    trainable, frozen = method.prepare(base.config, base.params, jax.random.key(5), 2)
    trainable = jax.tree.map(lambda leaf: leaf + 0.25, trainable)
    complete = method.merge(base.config, trainable, frozen)
    with RunDirectory(path) as directory, Checkpoints(directory.checkpoints) as checkpoints:
        tuning, state = stored.about(directory.path, StoredBase(base_dir, None, here), method), {}
        state["params"] = trainable
        if version_0_1:
            del tuning["merged"]
            state = {"params": complete} if tuning["complete"] else {"trainable": trainable}
            tuning["base"], tuning["base_step"] = str(base_dir), STEP
            tuning["base_fingerprint"] = stored.fingerprint(base.params)
        directory.vocabulary.write_bytes(base.vocabulary.file.read_bytes())
        manifest = {"fingerprint": {"vocabulary": base.vocabulary.fingerprint}, "tuning": tuning}
        checkpoints.save(STEP, state, manifest, force=True)
    return complete
