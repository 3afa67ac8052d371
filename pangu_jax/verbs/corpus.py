"""The corpus factory."""

import argparse
import json
from typing import Any

from data_pipelines.errors import DataError
from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs.verb import Verb

_NEEDED = ("polars", "rensa", "selectolax", "opencc", "fastwarc")


def _build_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        action="extend",
        metavar="DIR_OR_GLOB",
        help="folders, files, globs or URLs; NAME=DIR names the source of its documents",
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="where the corpus goes; one that was stopped resumes"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes; one per CPU unless given")
    parser.add_argument("--ray_address", metavar="HOST:PORT", help="use the Ray cluster whose head this is")


def _build(flags: argparse.Namespace) -> Result:
    _require_extra()
    from pangu_jax import recipes
    from pangu_jax.recipes.functions import BUILD_CORPUS

    files = flags.gin_file or ["corpus/chinese.gin"]
    with recipes.using(files, flags.bindings, function=BUILD_CORPUS) as recipe:
        from data_pipelines.corpus.build import build

        text = recipes.dump(recipe)
        found = build(flags.input, flags.output, flags.workers, flags.ray_address, recipe=text)
    return Result(found, _summary(found, flags.output))


def _dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", metavar="DIR", help="the --output of a build")


def _report(flags: argparse.Namespace) -> Result:
    from data_pipelines.corpus.directory import open_

    directory = open_(flags.dir)
    if not directory.report_json.is_file():
        raise DataError(f"{flags.dir}: this build is not finished; run its `pangu corpus build` again")
    found = json.loads(directory.report_json.read_text("utf-8"))
    return Result(found, _summary(found, flags.dir))


def _plan_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--raw_tb", type=float, required=True, metavar="TB", help="raw text, 10^12 bytes each"
    )
    parser.add_argument("--days", type=float, required=True, metavar="N", help="in which it is to be done")
    parser.add_argument(
        "--from", required=True, dest="measured", metavar="DIR", help="a finished build of a sample of it"
    )
    parser.add_argument("--cores", type=int, default=16, metavar="N", help="of a machine; 16 unless given")
    parser.add_argument("--memory_gb", type=float, default=64.0, metavar="GB", help="of a machine; 64")


def _plan(flags: argparse.Namespace) -> Result:
    from data_pipelines.corpus.plan import plan

    found = plan(flags.raw_tb, flags.days, flags.measured, flags.cores, flags.memory_gb)
    return Result(found.value, found.text)


def _quality_flags(parser: argparse.ArgumentParser) -> None:
    for kind in ("good", "bad"):
        parser.add_argument(
            f"--{kind}", required=True, nargs="+", metavar="PATH", help=f"{kind} text: .txt or .jsonl"
        )
    parser.add_argument("--out", required=True, metavar="FILE", help="the weights, .npz")


def _quality(flags: argparse.Namespace) -> Result:
    _require_extra()
    from data_pipelines.corpus.cleaning.quality_training import train_quality

    found = train_quality(flags.good, flags.bad, flags.out)
    text = (
        f"accuracy {found['accuracy']:.3f}, AUC {found['auc']:.3f} on {found['held_out_documents']} held out "
        f"of {found['documents']} documents; with shuffled labels {found['shuffled_accuracy']:.3f}, "
        f"{found['shuffled_auc']:.3f}\nuse it with --gin.chinese_rules.quality_weights={flags.out}"
    )
    return Result(found, text)


def _sample_flags(parser: argparse.ArgumentParser) -> None:
    _dir(parser)
    parser.add_argument("--stage", required=True, metavar="NAME", help="read, clean, deduplicate, ...")
    parser.add_argument("--rejected", action="store_true", help="what the stage rejected, of each rule")
    parser.add_argument("--count", type=int, default=5, metavar="N", help="documents, of each rule; 5")


def _sample(flags: argparse.Namespace) -> Result:
    _require_extra()
    from data_pipelines.corpus import collecting
    from data_pipelines.corpus.directory import open_

    directory = open_(flags.dir)
    if flags.stage not in collecting.FUNNEL:
        raise UserError(f"--stage {flags.stage}: documents are in {', '.join(collecting.FUNNEL)}")
    if flags.count < 1:
        raise UserError(f"--count {flags.count}: give a number from 1 on")
    rows = collecting.samples(directory, flags.stage, flags.rejected, flags.count)
    if not rows:
        kind = "rejected" if flags.rejected else "kept"
        raise UserError(f"{flags.dir}: nothing of {flags.stage} that was {kind} is there")
    text = "\n\n".join(
        " ".join(str(row[key]) for key in ("rule", "value", "source", "id") if row.get(key) is not None)
        + "\n"
        + row["text"][:2000]
        for row in rows
    )
    return Result(rows, text)


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
    cpu, read = sum(s["cpu_seconds"] for s in stages.values()) or 1e-3, stages["read"]["bytes_out"]
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
    lines += found.get("left_out", [])  # reports of 0.2 lack it
    if found["quarantined"]:
        lines.append(f"{directory}/work/read/*/quarantine.jsonl lists what was put aside")
    if found["evaluation"].get("missing"):
        lines.append(f"not kept out, files missing: {', '.join(found['evaluation']['missing'])}")
    return "\n".join([*lines, "", f"{directory}/dataset, {directory}/report.html"])


def _require_extra() -> None:
    import importlib.util

    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"corpora need {', '.join(missing)}: pip install 'pangu-jax[corpus]'")


VERBS: dict[str, Verb] = {
    "corpus build": Verb(
        "make a clean corpus of raw documents, or resume one that was stopped",
        "pangu corpus build --gin_file corpus/chinese.gin --input raw/ --output corpus/ --workers 8",
        _build_flags,
        _build,
        takes_recipe=True,
    ),
    "corpus report": Verb(
        "show what a build kept, what it rejected and why, and what it cost",
        "pangu corpus report corpus/",
        _dir,
        _report,
    ),
    "corpus plan": Verb(
        "estimate the cores, machines, disk and hours that some TB need, from a build on a sample",
        "pangu corpus plan --raw_tb 40 --days 7 --from corpus/",
        _plan_flags,
        _plan,
    ),
    "corpus quality": Verb(
        "train the quality classifier by good and bad samples of yours",
        "pangu corpus quality --good encyclopedia/*.jsonl --bad spam.txt --out quality.npz",
        _quality_flags,
        _quality,
    ),
    "corpus sample": Verb(
        "show documents of a stage, kept or rejected",
        "pangu corpus sample corpus/ --stage clean --rejected",
        _sample_flags,
        _sample,
    ),
}
