"""The functions that recipes are for, by name: nothing is imported to know them."""

from collections.abc import Iterable

TRAIN = "pangu_jax.training.train.train"
TUNE = "pangu_jax.apps.language.tuning.tune.tune"
EVALUATE = "pangu_jax.apps.language.benchmarks.evaluate.evaluate"
EVALUATE_IMAGES = "pangu_jax.apps.vision.measuring.evaluate_images.evaluate_images"
EVALUATE_RETRIEVAL = "pangu_jax.apps.multimodal.measuring.evaluate_retrieval.evaluate_retrieval"
EVALUATE_WEATHER = "pangu_jax.apps.science.measuring.evaluate_weather.evaluate_weather"
INSPECT = "pangu_jax.apps.vision.inspection.inspect_photos.inspect"
ITERATE = "pangu_jax.apps.vision.iteration.iterate.iterate"
INCREMENT = "pangu_jax.apps.vision.iteration.increments.increment.increment"
SWEEP = "pangu_jax.apps.language.benchmarks.sweep.sweep"
BUILD_CORPUS = "data_pipelines.corpus.build.build"

# What tunes by training: the tuned model is a workload, and its recipe one of `train`.
TUNED_BY_TRAINING = "pangu_jax.apps.vision.tuning"

# A function, and the parameters of it that a verb's flags give; a recipe must not set them.
_SUPPLIED = {
    TUNE: ("out", "recipe"),
    EVALUATE: ("run_dir", "on_row", "devices"),
    EVALUATE_IMAGES: ("run_dir", "on_row", "devices"),
    EVALUATE_RETRIEVAL: ("run_dir", "devices"),
    EVALUATE_WEATHER: ("run_dir", "devices"),
    INSPECT: ("run_dir", "photos", "out", "annotations", "on_photo", "devices"),
    ITERATE: ("run_dir", "out", "recipe", "on_row", "say", "devices"),
    INCREMENT: ("run_dir", "out", "recipe", "on_row", "say", "devices"),
    SWEEP: ("out", "workers", "ray_address", "on_row", "recipe", "devices"),
    BUILD_CORPUS: ("inputs", "output", "workers", "ray_address", "recipe"),
}


def supplied(function: str) -> tuple[str, ...]:
    """The parameters that a program passes to a function itself: to most what it passes to `train`."""
    return _SUPPLIED.get(function, ("run_dir", "recipe"))


def wanted(modules: Iterable[str]) -> str:
    """The function that a recipe is for which imports `modules`: `train` unless it is another's module."""
    imported = set(modules)
    return next((function for function in _SUPPLIED if function.rpartition(".")[0] in imported), TRAIN)


def tuning(modules: Iterable[str]) -> str:
    """The function by which `pangu tune` carries out a recipe that imports `modules`."""
    return TRAIN if TUNED_BY_TRAINING in set(modules) else TUNE
