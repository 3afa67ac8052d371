"""The corpus verbs: what each calls, as JSON and as text. The factory itself is `data_pipelines.corpus`."""

import json
from collections.abc import Sequence
from typing import Any

from data_pipelines.errors import DataError
from pangu_jax import recipes
from pangu_jax.errors import UserError
from pangu_jax.recipes import functions
from pangu_jax.shown import Shown

_NEEDED = ("polars", "rensa", "selectolax", "opencc", "fastwarc")


def build(
    gin_files: Sequence[str],
    bindings: Sequence[str],
    inputs: Sequence[str],
    output: str,
    workers: int | None,
    ray_address: str | None,
) -> Shown:
    """`data_pipelines.corpus.build.build` as the recipes say; without one, as corpus/chinese.gin does.

    Raises:
      UserError, DataError: what the caller can mend, in one line.
    """
    _require_extra()
    files = gin_files or ["corpus/chinese.gin"]
    with recipes.using(files, bindings, function=functions.BUILD_CORPUS) as recipe:
        from data_pipelines.corpus.build import build

        found = build(list(inputs), output, workers, ray_address, recipe=recipes.dump(recipe))
    return Shown(found, _summary(found, output))


def report(directory: str) -> Shown:
    """The report of a finished build."""
    from data_pipelines.corpus.directory import opened

    opened_ = opened(directory)
    if not opened_.report_json.is_file():
        raise DataError(f"{directory}: this build is not finished; run its `pangu corpus build` again")
    found = json.loads(opened_.report_json.read_text("utf-8"))
    return Shown(found, _summary(found, directory))


def plan(raw_tb: float, days: float, measured: str, cores: int, memory_gb: float) -> Shown:
    """`data_pipelines.corpus.plan.plan`."""
    from data_pipelines.corpus.plan import plan

    found = plan(raw_tb, days, measured, cores, memory_gb)
    return Shown(found.value, found.text)


def quality(good: Sequence[str], bad: Sequence[str], out: str) -> Shown:
    """`quality_training.train_quality`."""
    _require_extra()
    from data_pipelines.corpus.cleaning.quality_training import train_quality

    found = train_quality(good, bad, out)
    text = (
        f"accuracy {found['accuracy']:.3f}, AUC {found['auc']:.3f} on {found['held_out_documents']} held out "
        f"of {found['documents']} documents; with shuffled labels {found['shuffled_accuracy']:.3f}, "
        f"{found['shuffled_auc']:.3f}\nuse it with --gin.chinese_rules.quality_weights={out}"
    )
    return Shown(found, text)


def sample(directory: str, stage: str, rejected: bool, count: int) -> Shown:
    """Documents of a stage, see `collecting.samples`."""
    _require_extra()
    from data_pipelines.corpus import collecting
    from data_pipelines.corpus.directory import opened

    opened_ = opened(directory)
    if stage not in collecting.FUNNEL:
        raise UserError(f"--stage {stage}: documents are in {', '.join(collecting.FUNNEL)}")
    if count < 1:
        raise UserError(f"--count {count}: give a number from 1 on")
    rows = collecting.samples(opened_, stage, rejected, count)
    if not rows:
        kind = "rejected" if rejected else "kept"
        raise UserError(f"{directory}: nothing of {stage} that was {kind} is there")
    text = "\n\n".join(
        " ".join(str(row[key]) for key in ("rule", "value", "source", "id") if row.get(key) is not None)
        + "\n"
        + row["text"][:2000]
        for row in rows
    )
    return Shown(rows, text)


def _summary(found: dict[str, Any], directory: str) -> str:
    stages = {stage["name"]: stage for stage in found["stages"]}
    lines = [f"{'stage':<14}{'documents':>12}{'MB':>10}{'CPU s':>10}{'MB/CPU s':>10}"]
    for name, stage in stages.items():
        documents, size = stage["documents_out"], stage["bytes_out"]
        lines.append(
            f"{name:<14}{'' if documents is None else f'{documents:,}':>12}"
            f"{'' if size is None else f'{size / 1e6:,.1f}':>10}"
            f"{stage['cpu_seconds']:>10.1f}{stage['mb_per_cpu_second'] or '':>10}"
        )
    cpu, read = sum(s["cpu_seconds"] for s in stages.values()), stages["read"]["bytes_out"]
    lines.append(f"{'all':<14}{'':>12}{'':>10}{cpu:>10.1f}{read / 1e6 / cpu:>10.2f}")
    rules = [
        (numbers[0], f"  {rule} ({stage})")
        for stage, rejected in found["rejected"].items()
        for rule, numbers in rejected.items()
        if numbers[0]
    ]
    lines += ["", "documents rejected by"] + [
        f"{name:<44}{count:>10,}" for count, name in sorted(rules, reverse=True)
    ]
    if found["quarantined"]:
        total = sum(found["quarantined"].values())
        lines.append(f"unreadable: {total:,}; work/read/*/quarantine.jsonl tells each")
    if found["evaluation"].get("missing"):
        lines.append(f"not kept out, files missing: {', '.join(found['evaluation']['missing'])}")
    return "\n".join([*lines, "", f"{directory}/dataset, {directory}/report.html"])


def _require_extra() -> None:
    import importlib.util

    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"corpora need {', '.join(missing)}: pip install 'pangu-jax[corpus]'")
