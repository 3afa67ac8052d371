"""Looking at recipes."""

import argparse
from dataclasses import asdict

from pangu_jax.result import Result
from pangu_jax.verbs.recipe_flags import loaded
from pangu_jax.verbs.verb import Verb


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


def _check(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes

    each = [loaded(flags, name) for name in flags.recipes] or [loaded(flags)]
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

    explained = recipes.explain(loaded(flags, flags.recipe), flags.name)
    return Result([asdict(one) for one in explained], "\n\n".join(map(str, explained)))


def _show(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes

    text = recipes.dump(loaded(flags, flags.recipe))
    return Result({"recipe": text}, text.rstrip())


def _diff(flags: argparse.Namespace) -> Result:
    from pangu_jax import recipes

    differences = recipes.diff(loaded(flags, flags.first), loaded(flags, flags.second))
    text = "\n".join(map(str, differences)) or "no difference"
    return Result([asdict(one) for one in differences], text)


VERBS: dict[str, Verb] = {
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
}
