"""Which verb a recipe is for: `pangu train`, unless it imports the function of another."""

from collections.abc import Iterable, Sequence

from pangu_jax import corpora, evaluations, recipes, train
from pangu_jax.apps.language.tuning import running
from pangu_jax.recipes import Recipe
from pangu_jax.recipes.parsing import Import, read

# The function of a verb, and the parameters of it that its flags give.
OTHERS = {
    corpora.FUNCTION: corpora.SUPPLIED,
    running.FUNCTION: running.SUPPLIED,
    evaluations.EVALUATE: evaluations.EVALUATE_SUPPLIED,
    evaluations.SWEEP: evaluations.SWEEP_SUPPLIED,
}


def load(files: Sequence[str], bindings: Iterable[str] = ()) -> Recipe:
    """`recipes.load` for the verb that the recipes are for."""
    imported = {
        statement.module
        for name in files
        for statement in read(recipes.find(name))
        if isinstance(statement, Import)
    }
    for function, supplied in OTHERS.items():
        if function.rpartition(".")[0] in imported:
            return recipes.load(files, bindings, function=function, supplied=supplied)
    return recipes.load(files, bindings, function=train.FUNCTION)
