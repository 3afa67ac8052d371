"""The verbs of `pangu`: a file per verb or a close family of them, and one table of all.

A verb reads its flags, calls one public function and gives back one Result. It imports what it needs when it
runs: `pangu --help` must load neither TensorFlow nor a backend.
"""

from pangu_jax.verbs import (
    backend,
    caption,
    chat,
    checkpoint,
    config,
    corpus,
    data,
    evaluate,
    export,
    extract,
    fields,
    fill,
    forecast,
    generate,
    inspect,
    iterate,
    plan,
    restore,
    retrieve,
    sweep,
    train,
    tune,
)
from pangu_jax.verbs.verb import Verb

FILES = (
    train,
    tune,
    evaluate,
    sweep,
    generate,
    fill,
    chat,
    retrieve,
    caption,
    forecast,
    restore,
    export,
    extract,
    inspect,
    iterate,
    data,
    corpus,
    fields,
    plan,
    backend,
    checkpoint,
    config,
)
VERBS: dict[str, Verb] = {name: verb for file in FILES for name, verb in file.VERBS.items()}
