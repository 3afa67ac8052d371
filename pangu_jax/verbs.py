"""The verbs of `pangu`: one table, and for each verb its flags and the public function it calls.

A verb imports what it needs when it runs: `pangu --help` must load neither TensorFlow nor a backend.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pangu_jax.errors import UserError


@dataclass(frozen=True)
class Result:
    """What a verb gives back: `value` for --json, `text` for a person, `status` for the shell.

    None and empty where another process of a run tells.
    """

    value: Any
    text: str
    status: int = 0


@dataclass(frozen=True)
class Verb:
    """A line of `pangu --help`. `run` gets the parsed flags, with `bindings` a list of "NAME=VALUE"."""

    summary: str
    example: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Result]
    takes_recipe: bool = False


def _run_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run_dir",
        required=True,
        metavar="DIR",
        help="where the run is kept; one that is there goes on, by its own recipe unless another is given",
    )


def _report_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="a run directory")


def _train(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes, train

    kept = Path(flags.run_dir, "recipe.gin")  # resolved, so it needs none of the files it came from
    files = flags.gin_file or ([str(kept)] if kept.is_file() else [])
    if not files:
        raise UserError(f"give a recipe with --gin_file; there are: {', '.join(recipes.available())}")
    value = train.run(files, flags.bindings, flags.run_dir)
    if not value:  # another process of the run tells
        return Result(None, "")
    return Result(value, value.pop("text"))


def _recipes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="recipes, each looked at by itself")


def _recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a recipe, like --gin_file")


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a parameter (train.steps), a macro or a configurable")
    _recipe(parser)


def _pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="FIRST", help="a recipe")
    parser.add_argument("second", metavar="SECOND", help="another; --gin_file and --gin.NAME go for both")


def _load(flags: argparse.Namespace, *files: str | None) -> Any:
    from pangu_jax import recipe_verbs, recipes

    named = [file for file in files if file] + flags.gin_file
    if not named:
        raise UserError(f"name a recipe; there are: {', '.join(recipes.available())}")
    return recipe_verbs.load(named, flags.bindings)


def _check(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes

    each = [_load(flags, name) for name in flags.recipes] or [_load(flags)]
    findings = [finding for recipe in each for finding in recipes.check(recipe)]
    value = [
        {"file": finding.where.file, "line": finding.where.line, "message": finding.message}
        for finding in findings
    ]
    if findings:
        return Result({"findings": value}, "\n".join(map(str, findings)), status=2)
    return Result({"findings": []}, "\n".join(f"{recipe.where_missing()}: nothing wrong" for recipe in each))


def _explain(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes

    explained = recipes.explain(_load(flags, flags.recipe), flags.name)
    return Result([asdict(one) for one in explained], "\n\n".join(map(str, explained)))


def _show(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes

    text = recipes.dump(_load(flags, flags.recipe))
    return Result({"recipe": text}, text.rstrip())


def _diff(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes

    differences = recipes.diff(_load(flags, flags.first), _load(flags, flags.second))
    text = "\n".join(map(str, differences)) or "no difference"
    return Result([asdict(one) for one in differences], text)


def _checkpoint_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", metavar="DIR", help="a run directory, its checkpoints/, or one checkpoint")


def _inspect(flags: argparse.Namespace) -> Result:
    from pangu_jax.training import checkpoint_files, checkpoint_table

    found = checkpoint_files.inspect(flags.dir)
    return Result(found, checkpoint_table.render(found).rstrip())


def _verify(flags: argparse.Namespace) -> Result:
    from pangu_jax.training import checkpoint_files, checkpoint_table

    found = checkpoint_files.verify(flags.dir)
    damaged = any(step["state"] == "corrupt" for step in found["steps"])
    return Result(found, checkpoint_table.render(found).rstrip(), status=2 if damaged else 0)


def _report(flags: argparse.Namespace) -> Result:
    from pangu_jax.training import report

    path = report.write(flags.run_dir)
    return Result({"report": str(path)}, str(path))


def _plan_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--topology", required=True, metavar="NAME", help="chips: v5p:8x8x8, v6e:16x16, cpu:8, ascend910b:512"
    )
    parser.add_argument("--top", type=int, default=10, metavar="N", help="layouts to rank; 10 unless given")
    parser.add_argument("--verify", type=int, default=0, metavar="K", help="compile the best K of them")
    parser.add_argument("--dump_hlo", metavar="DIR", help="write each compiled program's optimised HLO there")
    parser.add_argument(
        "--fix",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="look only at layouts with this (stage=4, schedule=1f1b, remat=full); may come several times",
    )


def _plan(flags: argparse.Namespace) -> Result:
    from pangu_jax import planning

    found = planning.plan(
        _load(flags),
        flags.topology,
        top=flags.top,
        verify=flags.verify,
        dump_hlo=flags.dump_hlo,
        fixed=planning.parse_fixed(flags.fix),
    )
    return Result(found.value, found.text)


def _corpus_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        action="extend",
        metavar="DIR_OR_GLOB",
        help="folders, files, globs or URLs; NAME=DIR names the source of its documents",
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="where the corpus goes; one that was stopped goes on"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes; one a CPU unless given")
    parser.add_argument("--ray_address", metavar="HOST:PORT", help="use the Ray cluster whose head this is")


def _corpus_build(flags: argparse.Namespace) -> Result:
    from pangu_jax import corpora

    found = corpora.build(
        flags.gin_file, flags.bindings, flags.input, flags.output, flags.workers, flags.ray_address
    )
    return Result(found.value, found.text)


def _corpus_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", metavar="DIR", help="the --output of a build")


def _corpus_report(flags: argparse.Namespace) -> Result:
    from pangu_jax import corpora

    found = corpora.report(flags.dir)
    return Result(found.value, found.text)


def _corpus_plan_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--raw_tb", type=float, required=True, metavar="TB", help="raw text, 10^12 bytes each"
    )
    parser.add_argument("--days", type=float, required=True, metavar="N", help="in which it is to be done")
    parser.add_argument(
        "--from", required=True, dest="measured", metavar="DIR", help="a finished build of a sample of it"
    )
    parser.add_argument("--cores", type=int, default=16, metavar="N", help="of a machine; 16 unless given")
    parser.add_argument("--memory_gb", type=float, default=64.0, metavar="GB", help="of a machine; 64")


def _corpus_plan(flags: argparse.Namespace) -> Result:
    from pangu_jax import corpora

    found = corpora.plan(flags.raw_tb, flags.days, flags.measured, flags.cores, flags.memory_gb)
    return Result(found.value, found.text)


def _corpus_quality_flags(parser: argparse.ArgumentParser) -> None:
    for kind in ("good", "bad"):
        parser.add_argument(
            f"--{kind}", required=True, nargs="+", metavar="PATH", help=f"{kind} text: .txt or .jsonl"
        )
    parser.add_argument("--out", required=True, metavar="FILE", help="the weights, .npz")


def _corpus_quality(flags: argparse.Namespace) -> Result:
    from pangu_jax import corpora

    found = corpora.quality(flags.good, flags.bad, flags.out)
    return Result(found.value, found.text)


def _corpus_sample_flags(parser: argparse.ArgumentParser) -> None:
    _corpus_dir(parser)
    parser.add_argument("--stage", required=True, metavar="NAME", help="read, clean, deduplicate, ...")
    parser.add_argument("--rejected", action="store_true", help="what the stage rejected, of each rule")
    parser.add_argument("--count", type=int, default=5, metavar="N", help="documents, of each rule; 5")


def _corpus_sample(flags: argparse.Namespace) -> Result:
    from pangu_jax import corpora

    found = corpora.sample(flags.dir, flags.stage, flags.rejected, flags.count)
    return Result(found.value, found.text)


VERBS: dict[str, Verb] = {
    "train": Verb(
        "train a model as a recipe says, or go on with a run that was stopped",
        "pangu train --gin_file nlp/quickstart.gin --gin.train.steps=200 --run_dir runs/quickstart",
        _run_dir,
        _train,
        takes_recipe=True,
    ),
    "plan": Verb(
        "find the layout of a recipe on some chips, whether they are there or not",
        "pangu plan --gin_file nlp/110b.gin --topology v5p:8x8x8 --top 10 --verify 3",
        _plan_flags,
        _plan,
        takes_recipe=True,
    ),
    "corpus build": Verb(
        "make a clean corpus of raw documents, or go on with one that was stopped",
        "pangu corpus build --gin_file corpus/chinese.gin --input raw/ --output corpus/ --workers 8",
        _corpus_flags,
        _corpus_build,
        takes_recipe=True,
    ),
    "corpus report": Verb(
        "show what a build kept, what it rejected and why, and what it cost",
        "pangu corpus report corpus/",
        _corpus_dir,
        _corpus_report,
    ),
    "corpus plan": Verb(
        "tell the cores, machines, disk and hours that some TB need, from a build on a sample",
        "pangu corpus plan --raw_tb 40 --days 7 --from corpus/",
        _corpus_plan_flags,
        _corpus_plan,
    ),
    "corpus quality": Verb(
        "train the quality classifier by good and bad samples of yours",
        "pangu corpus quality --good encyclopedia/*.jsonl --bad spam.txt --out quality.npz",
        _corpus_quality_flags,
        _corpus_quality,
    ),
    "corpus sample": Verb(
        "show documents of a stage, kept or rejected",
        "pangu corpus sample corpus/ --stage clean --rejected",
        _corpus_sample_flags,
        _corpus_sample,
    ),
    "config check": Verb(
        "look for mistakes in recipes: names, types, unused macros, contradictions",
        "pangu config check gin/nlp/quickstart.gin gin/nlp/small.gin",
        _recipes,
        _check,
        takes_recipe=True,
    ),
    "config explain": Verb(
        "say where a value comes from, what it overrode, its default and its meaning",
        "pangu config explain train.steps gin/nlp/quickstart.gin --gin.train.steps=5",
        _name,
        _explain,
        takes_recipe=True,
    ),
    "config show": Verb(
        "print the resolved recipe: one gin file that says the same",
        "pangu config show gin/nlp/quickstart.gin --gin.Layout.fsdp=4",
        _recipe,
        _show,
        takes_recipe=True,
    ),
    "config diff": Verb(
        "list the values in which two recipes differ",
        "pangu config diff gin/nlp/quickstart.gin gin/nlp/small.gin",
        _pair,
        _diff,
        takes_recipe=True,
    ),
    "checkpoint inspect": Verb(
        "tell what a checkpoint holds, without a device",
        "pangu checkpoint inspect runs/quickstart",
        _checkpoint_dir,
        _inspect,
    ),
    "checkpoint verify": Verb(
        "read checkpoints through and tell whether they are whole; exits 2 when one is damaged",
        "pangu checkpoint verify runs/quickstart",
        _checkpoint_dir,
        _verify,
    ),
    "report": Verb(
        "write report.html of a run directory",
        "pangu report --run_dir runs/quickstart",
        _report_dir,
        _report,
    ),
}
