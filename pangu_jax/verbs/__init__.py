"""The verbs of `pangu`: a file a theme, and one table of all.

A verb imports what it needs when it runs: `pangu --help` must load neither TensorFlow nor a backend.
"""

from pangu_jax.verbs import corpus, planning, recipes, training
from pangu_jax.verbs.verb import Verb

VERBS: dict[str, Verb] = training.VERBS | planning.VERBS | corpus.VERBS | recipes.VERBS
