"""Names of modules and configurables that recipes of older versions hold, and what they are called now.

A run directory keeps the recipe it was trained by, so a name once published is read for ever. A longer name
of the table wins over a shorter one; below a package everything keeps the rest of its name.
"""

from collections.abc import Iterable

_LANGUAGE = "pangu_jax.apps.language"
_TEXT = "data_pipelines.text"

RENAMED = {
    # version 0.1
    "data_pipelines.published": f"{_TEXT}.benchmarks.published",
    "data_pipelines.tasks": f"{_TEXT}.tasks",
    "data_pipelines.tasks.benchmarks": f"{_TEXT}.benchmarks",
    **{
        f"data_pipelines.{name}": f"{_TEXT}.{name}"
        for name in (
            "baselines",
            "denoising",
            "documents",
            "folder",
            "json_line",
            "packing",
            "quickstart",
            "synthetic",
            "vocabulary",
        )
    },
    "pangu_jax.conversion": f"{_LANGUAGE}.conversion",
    "pangu_jax.tuning": f"{_LANGUAGE}.tuning",
    "pangu_jax.inference": f"{_LANGUAGE}.decoding",
    "pangu_jax.inference.Beam": f"{_LANGUAGE}.decoding.settings.Beam",
    "pangu_jax.inference.Greedy": f"{_LANGUAGE}.decoding.settings.Greedy",
    "pangu_jax.inference.Sampling": f"{_LANGUAGE}.decoding.settings.Sampling",
    "pangu_jax.inference.chat": f"{_LANGUAGE}.chat",
    "pangu_jax.inference.choosing": f"{_LANGUAGE}.decoding.sampling",
    "pangu_jax.inference.decoding": f"{_LANGUAGE}.decoding.generator",
    "pangu_jax.inference.loading": f"{_LANGUAGE}.loading",
    "pangu_jax.inference.reading": f"{_LANGUAGE}.decoding.prefill",
    "pangu_jax.inference.retrieval": f"{_LANGUAGE}.retrieval",
    "pangu_jax.evaluation.asking": f"{_LANGUAGE}.benchmarks.candidates",
    "pangu_jax.evaluation.written": f"{_LANGUAGE}.benchmarks.free_text",
    **{
        f"pangu_jax.evaluation.{name}": f"{_LANGUAGE}.benchmarks.{name}"
        for name in ("approach", "evaluate", "few_shot", "metrics", "submissions", "subsets", "sweep")
    },
    **{
        f"pangu_jax.models.{name}": f"pangu_jax.workloads.language.model.{name}"
        for name in ("cross_entropy", "encoder_decoder", "forward", "incremental")
    },
    **{
        f"pangu_jax.parallel.{name}": f"pangu_jax.planner.{name}"
        for name in (
            "axis_costs",
            "candidates",
            "collectives",
            "cost",
            "cost_report",
            "device_groups",
            "efficiency",
            "filters",
            "hlo",
            "links",
            "memory_estimate",
            "planner",
            "predictions",
            "products",
            "time_estimate",
            "trips",
        )
    },
    "pangu_jax.parallel.setting": "pangu_jax.planner.search_context",
    "pangu_jax.training.closing": "pangu_jax.runs.summary",
    **{
        f"pangu_jax.training.{name}": f"pangu_jax.runs.{name}"
        for name in (
            "charts",
            "checkpoint_files",
            "checkpoint_structure",
            "checkpoint_table",
            "checkpoints",
            "environment",
            "metrics",
            "orbax_setup",
            "report",
            "results",
            "run_directory",
        )
    },
}


def current(name: str) -> str:
    """What a module or configurable, given by its whole name, is called now."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        if (known := ".".join(parts[:depth])) in RENAMED:
            return ".".join([RENAMED[known], *parts[depth:]])
    return name


def matching(selector: str, registered: Iterable[str]) -> list[str]:
    """Those of the `registered` whole names whose older name is `selector` or ends in it, sorted."""
    return sorted(
        name for name in registered if any(f".{old}".endswith(f".{selector}") for old in _older(name))
    )


def _older(name: str) -> list[str]:
    """Whole names that `name` had: those that `current` turns into it."""
    had = (old + name.removeprefix(new) for old, new in RENAMED.items() if f"{name}.".startswith(f"{new}."))
    return [old for old in had if current(old) == name]
