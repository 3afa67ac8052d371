"""Recipes: gin files with a memory.

A recipe is a gin file. gin itself accepts a misspelt scope, an unused macro or `train.steps = "ten"` and
lets the run find out; this package remembers where every value came from and refuses such things before
a device is touched.

    recipe = recipes.load(["nlp/quickstart"], ["train.steps=10"])
    recipes.require_valid(recipe)        # UserError, one line per finding
    recipes.apply(recipe)                # into gin's registry: configurables now see these values
    Path("recipe.gin").write_text(recipes.dump(recipe))

Importing this package loads gin and nothing heavier; the modules that a recipe names are imported by `load`.
"""

from pangu_jax.recipes.checking import Constraint, check, check_values, constraint, require_valid
from pangu_jax.recipes.dumping import changes, dump, value_in
from pangu_jax.recipes.explaining import Explanation, RecipeDifference, diff, explain
from pangu_jax.recipes.files import available, find
from pangu_jax.recipes.findings import RecipeFinding
from pangu_jax.recipes.loading import apply, imported, load
from pangu_jax.recipes.making import make
from pangu_jax.recipes.recipe import Recipe
from pangu_jax.recipes.unwrapping import plain_errors
from pangu_jax.recipes.using import using
from pangu_jax.recipes.values import Macro, Reference, parse_flag_value, parse_value

__all__ = [
    "Constraint",
    "Explanation",
    "Macro",
    "Recipe",
    "RecipeDifference",
    "RecipeFinding",
    "Reference",
    "apply",
    "available",
    "changes",
    "check",
    "check_values",
    "constraint",
    "diff",
    "dump",
    "explain",
    "find",
    "imported",
    "load",
    "make",
    "parse_flag_value",
    "parse_value",
    "plain_errors",
    "require_valid",
    "using",
    "value_in",
]
