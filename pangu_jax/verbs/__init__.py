"""The verbs of `pangu`: a file a theme, and one table of all.

A verb imports what it needs when it runs: `pangu --help` must load neither TensorFlow nor a backend.
"""

from pangu_jax.verbs import (
    backend,
    conversion,
    corpus,
    data,
    evaluation,
    inference,
    planning,
    recipes,
    training,
    tuning,
)
from pangu_jax.verbs.verb import Verb

THEMES = (training, tuning, evaluation, inference, data, corpus, planning, backend, conversion, recipes)
VERBS: dict[str, Verb] = {name: verb for theme in THEMES for name, verb in theme.VERBS.items()}
