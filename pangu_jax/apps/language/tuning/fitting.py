"""`fit`: a method, a few labelled examples, a model that has learnt them; and what a tuned model chooses."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.apps.language.decoding import queries
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.tuning import examples
from pangu_jax.apps.language.tuning.examples import Labelled, Rows, Shape
from pangu_jax.apps.language.tuning.freezing import Extent, Freezing, FrozenState
from pangu_jax.apps.language.tuning.methods import FineTuning, Method
from pangu_jax.apps.language.tuning.programs import Programs, Recipe, programs, scorer
from pangu_jax.apps.language.tuning.settings import Descent, Objective, Regularisation
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads import Run
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

EVALUATION_BATCH = 32
ONE_DEVICE = Run(OneDevice())


class Tuned(NamedTuple):
    """What a fit leaves.

    Attributes:
      params: complete parameters: forward, decoding and scoring take them as they are.
      trainable: what learnt, for a small checkpoint.
      history: rows of step, loss and, where dev was measured, dev_accuracy (percent) and dev_loss.
      step: the step whose weights these are.
    """

    params: Tree
    trainable: Tree
    history: list[dict[str, float]]
    step: int


class Measured(NamedTuple):
    """Scores of examples: fp32 [N, C], -inf where there is no candidate; accuracy in percent; mean loss."""

    scores: np.ndarray
    accuracy: float
    loss: float


def fit(
    config: EncoderDecoderConfig,
    params: Tree,
    train: Sequence[Labelled],
    dev: Sequence[Labelled] | None = None,
    *,
    method: Method | None = None,
    freezing: Freezing | None = None,
    regularisation: Regularisation | None = None,
    objective: Objective | None = None,
    optimizer: Descent | None = None,
    steps: int = 200,
    batch_size: int = 16,
    evaluate_every: int = 20,
    patience: int = 0,
    seed: int = 0,
    shape: Shape | None = None,
    run: Run = ONE_DEVICE,
    tell: Callable[[dict[str, float]], None] | None = None,
) -> Tuned:
    """Tune a model on labelled examples; a pure function of its arguments.

    With `dev`, the weights kept are those of the best accuracy there, and of the lower loss among equals.
    Fits with equal settings and shapes share their compiled programs, whatever their data and seed.

    Args:
      config: the model's shape.
      params: its complete fp32 parameters; they are not changed.
      train: examples to learn, drawn without replacement until all were, and over again.
      dev: examples to choose the step by.
      method: @FineTuning() when None.
      freezing: a mode of dynamic freezing, or none.
      regularisation: dropout and the like; nothing when None.
      objective: the loss; choice among candidates when None.
      optimizer: AdamW as in `Descent()` when None.
      steps: updates.
      batch_size: examples a step.
      evaluate_every: steps between measurements on dev; the last step is always measured.
      patience: stop after so many measurements without a better one; 0 never stops.
      seed: of what is fresh, of the order of examples, of dropout and of random masks.
      shape: rows are padded to; that of the examples when None. Give a task's shape to share programs.
      run: where the parameters are, and the dtype of products.
      tell: called with each row of the history.

    Raises:
      UserError: settings that make no sense, examples as in `examples.shape_of`, a loss that is no number.
    """
    _require_positive(steps=steps, batch_size=batch_size, evaluate_every=evaluate_every)
    recipe = Recipe(
        config,
        method or FineTuning(),
        freezing or Freezing(),
        regularisation or Regularisation(),
        objective or Objective(),
        optimizer or Descent(),
        steps,
        run,
    )
    compiled = programs(recipe)
    scored = scorer(config, recipe.method.pool, recipe.objective, recipe.run)
    train, dev = (with_prompt(config, some or (), recipe.method.prompt) for some in (train, dev))
    if recipe.method.pool:
        train, dev = examples.numbered(train), examples.numbered(dev)
    shape = shape or examples.shape_of([*train, *dev])
    rows = examples.rows(train, shape)
    width = rows.width()
    dev_rows = examples.rows(dev, shape) if dev else None
    fresh, masks, drops = jax.random.split(jax.random.key(seed), 3)
    trainable, frozen = recipe.method.prepare(config, params, fresh, shape.candidates)
    trainable = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), trainable)
    draws = _draws(len(train), batch_size, seed)
    chosen = None
    if recipe.freezing.needs_fisher:
        chosen = recipe.freezing.choose(_fisher(compiled, trainable, frozen, rows, batch_size))
    state: FrozenState = recipe.optimizer(masks, chosen).init(trainable)
    best, history, worse = None, [], 0
    losses: list[jax.Array] = []
    for step in range(1, steps + 1):
        lowest = _lowest(recipe, step - 1)
        key = jax.random.fold_in(drops, step)
        batch = rows.batch(next(draws), width)
        trainable, state, loss = compiled.step(trainable, state, frozen, batch, key, lowest=lowest)
        losses.append(loss)
        if step % evaluate_every and step != steps:
            continue
        row = {"step": step, "loss": float(np.mean([float(value) for value in losses]))}
        losses = []
        if not np.isfinite(row["loss"]):
            raise UserError(f"the loss at step {step} is not finite; lower Descent.learning_rate")
        if dev_rows:
            measured = _measure(scored, recipe.method.merge(config, trainable, frozen), dev_rows, run)
            row |= {"dev_accuracy": measured.accuracy, "dev_loss": measured.loss}
            worse += 1
            rank = (-measured.accuracy, measured.loss)
            if best is None or rank < best[0]:
                best, worse = (rank, step, jax.tree.map(jnp.copy, trainable)), 0
        history.append(row)
        if tell:
            tell(row)
        if patience and worse >= patience:
            break
    if best is not None:
        _, step, trainable = best
    return Tuned(recipe.method.merge(config, trainable, frozen), trainable, history, step)


def measure(
    config: EncoderDecoderConfig,
    params: Tree,
    asked: Sequence[Labelled],
    *,
    method: Method | None = None,
    objective: Objective | None = None,
    shape: Shape | None = None,
    run: Run = ONE_DEVICE,
) -> Measured:
    """Scores and accuracy of a model, tuned or not, by the programs of `fit`.

    `params` are complete; `method` says whether a classifier in them is asked. The scores of candidates by
    their tokens are those of `pangu_jax.apps.language.decoding.scoring.score`.

    Raises:
      UserError: as `fit`.
    """
    pool = method.pool if method else None
    asked = with_prompt(config, asked, len(params["embedding"]) - config.vocab_size)
    if pool:
        asked = examples.numbered(asked)
    shape = shape or examples.shape_of(asked)
    scored = scorer(config, pool, objective or Objective(), run)
    return _measure(scored, params, examples.rows(asked, shape), run)


def prompt_ids(config: EncoderDecoderConfig, length: int) -> np.ndarray:
    """Ids of a soft prompt's vectors: those after the vocabulary's. int32 [length]."""
    return np.arange(config.vocab_size, config.vocab_size + length, dtype=np.int32)


def with_prompt(config: EncoderDecoderConfig, asked: Sequence[Labelled], length: int) -> list[Labelled]:
    """Examples with a soft prompt before the encoder's tokens, except where they hold one already."""
    prompt = prompt_ids(config, length)

    def prompted(query: Query) -> Query:
        if not length or np.any(np.asarray(query.inputs) >= config.vocab_size):
            return query
        return query._replace(inputs=np.concatenate([prompt, query.inputs]).astype(np.int32))

    return [example._replace(query=prompted(example.query)) for example in asked]


def _lowest(recipe: Recipe, step: int) -> int:
    if recipe.method.from_below:
        return 0
    extent: Extent = recipe.extent
    return min(recipe.freezing.lowest(step, extent), extent.top)


def _draws(count: int, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    """Row numbers of batch after batch: permutations one after the other, cut into equal pieces."""
    random, waiting = np.random.default_rng(seed), np.zeros(0, int)
    while True:
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, random.permutation(count)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def _fisher(compiled: Programs, trainable: Tree, frozen: Tree, rows: Rows, batch_size: int) -> Tree:
    """Mean squared gradients over the training batches."""
    count = len(rows.answer_N)
    order = np.resize(np.arange(count), -(-count // batch_size) * batch_size)
    total = None
    for numbers in order.reshape(-1, batch_size):
        squared = compiled.squared_gradients(trainable, frozen, rows.batch(numbers))
        total = squared if total is None else jax.tree.map(jnp.add, total, squared)
    return total


def _measure(scored: Any, params: Tree, rows: Rows, run: Run) -> Measured:
    """In batches of one size, of rows about as long; the last one is filled up with its own rows, which are
    not counted."""
    order_N = np.argsort(rows.needed_N, kind="stable")
    scores, losses = [], []
    size = queries.whole_shards(EVALUATION_BATCH, run.placement.batch_shards)
    for first in range(0, len(order_N), size):
        own_N = order_N[first : first + size]
        numbers = np.resize(own_N, size)
        score_BxC, loss_B = scored(params, rows.batch(numbers, rows.width(own_N)))
        scores.append(np.asarray(score_BxC)[: len(own_N)])
        losses.append(np.asarray(loss_B)[: len(own_N)])
    back_N = np.argsort(order_N)
    score_NxC = np.concatenate(scores)[back_N]
    right = np.mean(np.argmax(score_NxC, axis=1) == rows.answer_N)
    return Measured(score_NxC, 100 * float(right), float(np.mean(np.concatenate(losses))))


def _require_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise UserError(f"{name} = {value}: it must be at least 1")
