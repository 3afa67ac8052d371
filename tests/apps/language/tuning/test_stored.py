"""A tuned run directory opens as any other, complete or beside its base, and also those of version 0.1."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from pangu_jax.apps.language import loading
from pangu_jax.apps.language.tuning import stored
from pangu_jax.apps.language.tuning.lora import LoRA
from pangu_jax.apps.language.tuning.methods import FineTuning, Head
from pangu_jax.apps.language.tuning.prompts import PrefixTuning, PromptTuning
from pangu_jax.errors import UserError
from tests.apps.language.tuning import runs

METHODS = [
    FineTuning(),
    Head(alone=True),
    PromptTuning(3, reparametrised=True),
    PromptTuning(3, tune_model=True),
    PrefixTuning(2),
    LoRA(2),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run directory of a model."""
    path = tmp_path_factory.mktemp("base")
    known = runs.words(path, "这家店的东西很好，价格也便宜。", "质量太差了，不会再买，失望。")
    return runs.keep(path / "run", known, runs.model(known))


@pytest.mark.parametrize("version_0_1", [False, True], ids=["today", "version 0.1"])
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_what_was_stored_is_what_is_loaded(base, tmp_path, method, version_0_1):
    complete = runs.keep_tuned(tmp_path / "run", method, base, version_0_1=version_0_1)
    loaded = loading.load(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, loaded.params, complete)
    assert stored.method(loaded.manifest["tuning"]) == method
    first = loaded.config.vocab_size
    assert loaded.prompt.tolist() == list(range(first, first + method.prompt))
    holds_the_model = any(name.endswith("decoder/attention/qkv") for name in loaded.manifest["arrays"])
    assert holds_the_model == loaded.manifest["tuning"]["complete"]


@pytest.fixture
def family(base, tmp_path):
    """A folder of two runs, a base and what was tuned on it."""
    shutil.copytree(base, tmp_path / "runs" / "base")
    runs.keep_tuned(tmp_path / "runs" / "tuned", LoRA(2), tmp_path / "runs" / "base")
    return tmp_path / "runs"


def test_runs_are_moved_together(family, tmp_path, monkeypatch):
    before = loading.load(family / "tuned")
    shutil.move(family, tmp_path / "elsewhere")
    monkeypatch.setattr(stored, "fingerprint", None)  # no weight is summed to know the base
    after = loading.load(tmp_path / "elsewhere" / "tuned")
    jax.tree.map(np.testing.assert_array_equal, after.params, before.params)


def moved(runs_: Path) -> None:
    (runs_ / "base").rename(runs_ / "other")


def trained_since(runs_: Path) -> None:
    (runs_ / "base" / "checkpoints" / "7").rename(runs_ / "base" / "checkpoints" / "9")


def replaced(runs_: Path) -> None:
    fresh = loading.load(runs_ / "base")
    changed = fresh.params | {"embedding": fresh.params["embedding"] + 1}
    runs.keep(runs_ / "base", fresh.vocabulary, fresh.config, changed)


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
    runs.keep_tuned(family / "old", LoRA(2), family / "base", version_0_1=True)
    loading.load(family / "old")
    replaced(family)
    with pytest.raises(UserError, match="from other weights than"):
        loading.load(family / "old")
    moved(family)
    with pytest.raises(UserError, match="which is not there"):
        loading.load(family / "old")
