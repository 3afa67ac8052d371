"""Which verb a recipe is for: `pangu train`, unless it imports the function of another."""

from collections.abc import Iterable, Sequence

from pangu_jax import corpora, recipes, train
from pangu_jax.recipes import Recipe
from pangu_jax.recipes.parsing import Import, read


def load(files: Sequence[str], bindings: Iterable[str] = ()) -> Recipe:
    """`recipes.load` for the verb that the recipes are for."""
    imported = {
        statement.module
        for name in files
        for statement in read(recipes.find(name))
        if isinstance(statement, Import)
    }
    if corpora.FUNCTION.rpartition(".")[0] in imported:
        return recipes.load(files, bindings, function=corpora.FUNCTION, supplied=corpora.SUPPLIED)
    return recipes.load(files, bindings, function=train.FUNCTION)
