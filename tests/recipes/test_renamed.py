"""Recipes written for version 0.1: modules and configurables by the names they had."""

import importlib.util
from pathlib import Path

import pytest

from pangu_jax import recipes
from pangu_jax.recipes import renamed
from pangu_jax.recipes.signatures import look_up

RECORDED = sorted(Path(__file__).with_name("version_0_1").glob("*.gin"))

# What recipes could name, by the module that it was in.
CONFIGURABLES = {
    "data_pipelines.denoising": ("Causal", "PrefixLM", "SpanCorruption"),
    "data_pipelines.synthetic": ("synthetic_tokens",),
    "data_pipelines.tasks.mixture": ("corpus",),
    "pangu_jax.evaluation.approach": ("Approach",),
    "pangu_jax.evaluation.evaluate": ("evaluate",),
    "pangu_jax.evaluation.sweep": ("sweep",),
    "pangu_jax.inference": ("Beam", "Greedy", "Sampling"),
    "pangu_jax.inference.settings": ("Beam", "Greedy", "Sampling"),
    "pangu_jax.models": ("EncoderDecoder",),
    "pangu_jax.tuning.lora": ("LoRA",),
    "pangu_jax.tuning.methods": ("FineTuning", "Head"),
    "pangu_jax.tuning.modes": (
        "ChildTuningD",
        "ChildTuningF",
        "FreezeOut",
        "GradualUnfreezing",
        "LayerDrop",
        "Mixout",
        "RecAdam",
    ),
    "pangu_jax.tuning.prompts": ("PrefixTuning", "PromptTuning"),
    "pangu_jax.tuning.settings": ("Descent", "Objective", "Regularisation"),
    "pangu_jax.tuning.tune": ("tune",),
    "pangu_jax.workloads.language": ("LanguageModel",),
}
MODULES = """
import pangu_jax.workloads.language
import data_pipelines.synthetic
import data_pipelines.tasks.mixture
import pangu_jax.evaluation.evaluate
import pangu_jax.evaluation.sweep
import pangu_jax.inference.settings
import pangu_jax.tuning.modes
import pangu_jax.tuning.tune
from pangu_jax.inference import chat
import pangu_jax.inference.loading as opening
"""


def test_what_took_the_place_of_a_name_is_there():
    for name in renamed.RENAMED.values():
        module, _, attribute = name.rpartition(".")
        if attribute[0].isupper():
            assert hasattr(importlib.import_module(module), attribute), name
        else:
            assert importlib.util.find_spec(name), name


@pytest.fixture
def load(tmp_path):
    def write_and_load(text: str) -> recipes.Recipe:
        file = tmp_path / "recipe.gin"
        file.write_text(text, encoding="utf-8")
        return recipes.load([file], function="pangu_jax.training.train.train")

    return write_and_load


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recipe_resolved_by_version_0_1_says_the_same(path):
    recipe = recipes.load([path])
    assert recipes.check(recipe) == []
    assert recipes.changes(path.read_text("utf-8"), recipes.dump(recipe)) == []


def test_a_dump_names_todays_modules(load):
    recipe = load(MODULES)
    assert recipe.findings == []
    assert [statement.statement for statement in recipe.imports] == [
        "import pangu_jax.workloads.language",
        "import data_pipelines.text.synthetic",
        "import data_pipelines.text.tasks.mixture",
        "import pangu_jax.apps.language.benchmarks.evaluate",
        "import pangu_jax.apps.language.benchmarks.sweep",
        "import pangu_jax.apps.language.decoding.settings",
        "import pangu_jax.apps.language.tuning.modes",
        "import pangu_jax.apps.language.tuning.tune",
        "from pangu_jax.apps.language import chat",
        "import pangu_jax.apps.language.loading as opening",
    ]


def test_a_configurable_is_found_by_its_old_name_and_by_the_end_of_it(load):
    load(MODULES)
    for module, names in CONFIGURABLES.items():
        for name in names:
            found = look_up(name)
            assert look_up(f"{module}.{name}") == found
            assert look_up(f"{module.rpartition('.')[2]}.{name}") == found


def test_an_old_name_in_a_binding_and_in_a_reference_is_what_gin_reads(load):
    mode = "@pangu_jax.tuning.modes.Mixout()"
    recipe = load(f"{MODULES}train.workload = {{'a': [{mode}]}}\npangu_jax.tuning.modes.Mixout.share = 0.5\n")
    today = "pangu_jax.apps.language.tuning.modes.Mixout"
    assert recipe.findings == []
    assert f"train.workload = {{'a': [@{today}()]}}" in recipes.dump(recipe)
    assert "\nMixout.share = 0.5\n" in recipes.dump(recipe)
    recipes.apply(recipe)


def test_a_slip_below_a_renamed_package_is_told_by_its_name_of_today(load):
    (finding,) = load("import pangu_jax.tuning.tunes\n").findings
    assert finding.message.endswith("named 'pangu_jax.apps.language.tuning.tunes'; did you mean 'tune'?")
