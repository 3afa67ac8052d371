"""A toy task and a tiny model that knows half of it, shared by the tests of tuning.

A text holds one of two first marks and one of two second marks. Told by the word ASK_FIRST or ASK_SECOND in
front, the base model says its word. A method learns, from texts without that word, which mark is meant.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.tuning.examples import Labelled, RowShape
from pangu_jax.apps.language.tuning.settings import Fit, OptimizerSpec, Tuning
from pangu_jax.apps.language.tuning.trials import Trials
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

STORED = Path(__file__).with_name("base.npz")
MODEL = EncoderDecoderConfig(
    vocab_size=32, d_model=16, d_ff=32, heads=2, encoder_layers=1, decoder_layers=1, position="relative"
)
SHAPE = RowShape(inputs=16, columns=4, reads=2, pairs=4, candidates=2)
ASK_FIRST, ASK_SECOND = 3, 4
FIRST, SECOND, WORDS = (5, 6), (7, 8), (9, 10)
ANSWERS = tuple(np.array([11, word], np.int32) for word in (12, 13))  # two tokens, the first in common


def texts(count: int, seed: int, asked: bool = False, shuffled: bool = False) -> list[Labelled]:
    """Examples whose answer is the first mark, or with `asked` the one that is asked for.

    `shuffled` answers are as often right as wrong for every pair of marks: nothing is to be learnt.
    """
    random = np.random.default_rng(seed)
    out, met = [], np.zeros((2, 2), int)
    for _ in range(count):
        first, second, ask = random.integers(2, size=3)
        words = random.integers(*WORDS, size=random.integers(2, 5))
        text = random.permutation([FIRST[first], SECOND[second], *words])
        answer = second if asked and ask else first
        if shuffled:
            answer = met[first, second] % 2
            met[first, second] += 1
        inputs = [*([(ASK_FIRST, ASK_SECOND)[ask]] if asked else []), *text]
        out.append(Labelled(Query(np.array(inputs, np.int32), candidates=ANSWERS), int(answer)))
    return out


@functools.cache
def base() -> Tree:
    """The model that answers what it is asked for; running this file makes it again."""
    with np.load(STORED) as stored:
        tree: Tree = {}
        for path in stored.files:
            *inner, name = path.split("/")
            at = tree
            for part in inner:
                at = at.setdefault(part, {})
            at[name] = jnp.asarray(stored[path])
        return tree


def make() -> None:
    """Trains the base model and stores it."""
    fresh = architecture.init(MODEL, jax.random.key(0))
    fit = Fit(OptimizerSpec(learning_rate=1e-2), steps=600, batch_size=32, evaluate_every=300)
    params = Trials(MODEL, fresh, Tuning(), fit, SHAPE)(texts(1000, 1, asked=True)).params
    leaves = jax.tree.leaves_with_path(params)
    np.savez(STORED, **{jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in leaves})


if __name__ == "__main__":
    make()
