"""A tuned run directory opens as any other, complete or beside its base; `tune` makes one."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.text import vocabulary
from pangu_jax.apps.language import loading
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.tuning import stored
from pangu_jax.apps.language.tuning.fitting import Tuned
from pangu_jax.apps.language.tuning.lora import LoRA
from pangu_jax.apps.language.tuning.methods import FineTuning, Head
from pangu_jax.apps.language.tuning.prompts import PrefixTuning, PromptTuning
from pangu_jax.apps.language.tuning.tune import tune
from pangu_jax.errors import UserError
from pangu_jax.runs import checkpoint_files
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads.language.model import encoder_decoder
from tests.apps.language.tuning import toy

DATA = Path(os.environ.get("PANGU_DATA_DIR", Path(__file__).parents[5] / "shared" / "data"))


def keep(path: Path, method, base: LoadedModel, base_dir: Path | None) -> Tuned:
    trainable, frozen = method.prepare(base.config, base.params, jax.random.key(5), 2)
    trainable = jax.tree.map(lambda leaf: leaf + 0.25, trainable)
    tuned = Tuned(method.merge(base.config, trainable, frozen), trainable, [], 7)
    with RunDirectory(path) as directory:
        stored.save(directory, tuned, method, base, base_dir, recipe="# none\n")
    return tuned


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run directory with a complete model."""
    path = tmp_path_factory.mktemp("base")
    model = path / "made.model"
    vocabulary.train(["这家店的东西很好，价格也便宜。", "质量太差了，不会再买，失望。"] * 50, 420, model)
    words = vocabulary.Vocabulary(model)
    config = dataclasses.replace(toy.MODEL, vocab_size=words.size)
    fresh = LoadedModel(config, encoder_decoder.init(config, jax.random.key(0)), words)
    keep(path / "run", FineTuning(), fresh, None)
    return path / "run"


@pytest.mark.parametrize(
    "method",
    [FineTuning(), Head(alone=True), PromptTuning(3, reparametrised=True), PrefixTuning(2), LoRA(2)],
    ids=lambda method: type(method).__name__,
)
def test_what_was_stored_is_what_is_loaded(base, tmp_path, method):
    tuned = keep(tmp_path / "run", method, loading.load(base), base)
    loaded = loading.load(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, loaded.params, tuned.params)
    assert stored.method(loaded.manifest["tuning"]) == method
    first = loaded.config.vocab_size
    assert loaded.prompt.tolist() == list(range(first, first + method.prompt))
    if not isinstance(method, FineTuning):
        kept = loaded.manifest["arrays"]
        assert all(name.startswith("trainable/") for name in kept)


@pytest.fixture
def family(base, tmp_path):
    """A folder of two runs, a base and what was tuned on it."""
    shutil.copytree(base, tmp_path / "runs" / "base")
    keep(tmp_path / "runs" / "tuned", LoRA(2), loading.load(base), tmp_path / "runs" / "base")
    return tmp_path / "runs"


def test_runs_are_moved_together(family, tmp_path, monkeypatch):
    before = loading.load(family / "tuned")
    shutil.move(family, tmp_path / "elsewhere")
    monkeypatch.setattr(stored, "fingerprint", None)  # no weight is summed to know the base
    after = loading.load(tmp_path / "elsewhere" / "tuned")
    jax.tree.map(np.testing.assert_array_equal, after.params, before.params)


def moved(runs: Path) -> None:
    (runs / "base").rename(runs / "other")


def trained_since(runs: Path) -> None:
    (runs / "base" / "checkpoints" / "7").rename(runs / "base" / "checkpoints" / "9")


def replaced(runs: Path) -> None:
    fresh = loading.load(runs / "base")
    changed = fresh.params | {"embedding": fresh.params["embedding"] + 1}
    keep(runs / "base", FineTuning(), dataclasses.replace(fresh, params=changed), None)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (moved, "base, which is not there: bring it back, or move both together"),
        (trained_since, "from step 7 of .*base, which has steps 9 now: it was trained on since"),
        (replaced, "from another checkpoint than .*base now has at step 7"),
    ],
)
def test_a_base_that_is_not_what_it_was_is_told(family, harm, words):
    harm(family)
    with pytest.raises(UserError, match=words) as caught:
        loading.load(family / "tuned")
    assert "\n" not in str(caught.value)


def test_a_run_tuned_by_version_0_1_names_its_base_by_path_and_weights(family):
    """Its manifest has an absolute path and a hash of the weights."""
    base, step = loading.load(family / "base"), family / "tuned" / "checkpoints" / "7"
    expected = loading.load(family / "tuned").params
    manifest = json.loads((step / checkpoint_files.MANIFEST).read_text())
    manifest["tuning"] |= {
        "base": str(family / "base"),
        "base_step": 7,
        "base_fingerprint": stored.fingerprint(base.params),
    }
    (step / checkpoint_files.MANIFEST).write_text(json.dumps(manifest))
    checkpoint_files.write_checksums(step)
    jax.tree.map(np.testing.assert_array_equal, loading.load(family / "tuned").params, expected)
    replaced(family)
    with pytest.raises(UserError, match="from other weights than"):
        loading.load(family / "tuned")
    moved(family)
    with pytest.raises(UserError, match="which is not there"):
        loading.load(family / "tuned")


@pytest.mark.skipif(not (DATA / "fewclue" / "bustm").is_dir(), reason="needs $PANGU_DATA_DIR/fewclue/bustm")
def test_tune_makes_a_run_directory_and_refuses_to_overwrite_it(base, tmp_path):
    settings = {
        "run_dir": str(base),
        "task": "fewclue/bustm",
        "pattern": "ask",
        "data_dir": str(DATA),
        "method": PromptTuning(2),
        "dev_split": None,
        "steps": 2,
        "batch_size": 2,
    }
    found = tune(str(tmp_path / "out"), **settings)
    assert found["trainable"] == 2 * toy.MODEL.d_model
    assert found["step"] == 2
    loaded = loading.load(tmp_path / "out")
    assert loaded.manifest["tuning"]["task"] == "fewclue/bustm"
    assert len(loaded.prompt) == 2
    assert (tmp_path / "out" / "metrics.jsonl").read_text().count("\n") == 1
    with pytest.raises(UserError, match="holds a model already"):
        tune(str(tmp_path / "out"), **settings)
    with pytest.raises(DataError, match="no pattern 'asks'; there are ask"):
        tune(str(tmp_path / "other"), **(settings | {"pattern": "asks"}))
