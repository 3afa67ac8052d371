"""Several models as one: a graph network that weighs experts for each picture, and what it must beat.

Nothing is published under this name; chosen is: experts are nodes; edges are cosines of their outputs on a
probe set; a node holds what its expert says of a picture (probabilities in falling order, and agreement with
the others); graph convolutions (Kipf and Welling, arXiv 1609.02907) give a score per node, and their softmax
the weights of the mixture. It is learnt on the probe set, whose labels no expert has seen.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gin
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special

from pangu_jax.apps.vision.iteration import heads
from pangu_jax.apps.vision.iteration.heads import Params
from pangu_jax.apps.vision.iteration.label_losses import own_log_probability
from pangu_jax.errors import UserError
from pangu_jax.workloads.vision import probing

TOP = 5  # probabilities that a node holds


def mean_of_logits(logits_ExNxC: np.ndarray) -> np.ndarray:
    """[N, C]: the ensemble, each expert's log probabilities counting alike."""
    return special.log_softmax(logits_ExNxC, axis=2).mean(0)


def mean_of_weights(experts: Sequence[Params]) -> Params:
    """One head of the means of all parameters: for heads that began alike."""
    return jax.tree.map(lambda *parts: np.mean(parts, axis=0), *experts)


def greedy_soup(experts: Sequence[Params], features_PxF: np.ndarray, label_P: np.ndarray) -> Params:
    """Means of parameters, an expert at a time, best first, kept where the probe set loses nothing (Wortsman
    et al., arXiv 2203.05482).

    Args:
      experts: heads of one shape that began alike.
      features_PxF: of the probe set.
      label_P: its labels.
    """

    def right(params: Params) -> float:
        return float((heads.answers(params, features_PxF).argmax(1) == label_P).mean())

    ordered = sorted(experts, key=right, reverse=True)
    kept = [ordered[0]]
    best = right(ordered[0])
    for one in ordered[1:]:
        if (found := right(mean_of_weights([*kept, one]))) >= best:
            kept, best = [*kept, one], found
    return mean_of_weights(kept)


@gin.configurable
@dataclass(frozen=True)
class Stacking:
    """Logistic regression on all experts' log probabilities, from their mean.

    Args:
      steps: of Adam, on the whole probe set.
      learning_rate: constant.
      weight_decay: of the loss (L2), towards the mean of the experts.
    """

    steps: int = 300
    learning_rate: float = 1e-2
    weight_decay: float = 1e-2

    def __call__(self, probe_ExPxC: np.ndarray, label_P: np.ndarray, asked_ExMxC: np.ndarray) -> np.ndarray:
        """Scores [M, C].

        Args:
          probe_ExPxC: logits of the experts on the probe set.
          label_P: its labels.
          asked_ExMxC: logits on what is asked about.
        """
        experts, _, classes = probe_ExPxC.shape
        params = {"kernel": jnp.zeros((experts, classes, classes)), "bias": jnp.zeros(classes)}
        given = tuple(map(jnp.asarray, (special.log_softmax(probe_ExPxC, axis=2), label_P)))
        params = _descend(
            _stacked_loss, (self.steps, self.learning_rate), params, (*given, self.weight_decay)
        )
        return np.asarray(_stacked(params, jnp.asarray(special.log_softmax(asked_ExMxC, axis=2))))


@gin.configurable
@dataclass(frozen=True)
class GraphFusion:
    """Mixture weights per picture by graph convolutions over experts.

    Args:
      layers: of graph convolution, 1 or 2.
      hidden: width between two layers.
      steps: of Adam, on the whole probe set.
      learning_rate: constant.
      weight_decay: of the loss (L2), towards equal weights.
      seed: of the weights.
    """

    layers: int = 2
    hidden: int = 16
    steps: int = 300
    learning_rate: float = 1e-2
    weight_decay: float = 1e-2
    seed: int = 0

    def __post_init__(self):
        if self.layers not in (1, 2):
            raise UserError(f"GraphFusion.layers = {self.layers}: 1 or 2")

    def __call__(self, probe_ExPxC: np.ndarray, label_P: np.ndarray, asked_ExMxC: np.ndarray) -> np.ndarray:
        """Scores [M, C]; arguments as of `Stacking`."""
        graph_ExE = jnp.asarray(normalised_graph(probe_ExPxC), jnp.float32)
        width = TOP + 2
        keys = jax.random.split(jax.random.key(self.seed), 2)
        sizes = [(width, 1)] if self.layers == 1 else [(width, self.hidden), (self.hidden, 1)]
        # The last layer begins at zero: all experts weigh alike, which is the mean of logits.
        params = {
            str(at): (0.0 if at == len(sizes) - 1 else (2 / size[0]) ** 0.5) * jax.random.normal(key, size)
            for at, (size, key) in enumerate(zip(sizes, keys, strict=False))
        }
        probe, asked = (special.log_softmax(x, axis=2).astype(np.float32) for x in (probe_ExPxC, asked_ExMxC))
        given = (
            jnp.asarray(probe),
            jnp.asarray(nodes(probe)),
            graph_ExE,
            jnp.asarray(label_P),
            self.weight_decay,
        )
        params = _descend(_fused_loss, (self.steps, self.learning_rate), params, given)
        return np.asarray(_fused(params, jnp.asarray(asked), jnp.asarray(nodes(asked)), graph_ExE))


def normalised_graph(logits_ExPxC: np.ndarray) -> np.ndarray:
    """D^-1/2 (A + I) D^-1/2, A the cosines of the experts' probabilities on the probe set, centred."""
    flat = special.softmax(logits_ExPxC, axis=2)
    flat = probing.unit((flat - flat.mean(1, keepdims=True)).reshape(len(flat), -1))
    edges = np.maximum(flat @ flat.T, 0.0)
    np.fill_diagonal(edges, 1.0)
    degree = 1 / np.sqrt(edges.sum(1))
    return degree[:, None] * edges * degree


def nodes(logs_ExNxC: np.ndarray) -> np.ndarray:
    """What each expert's node holds of a picture, fp32 [E, N, TOP + 2]: its largest log probabilities, its
    entropy, and how it agrees with the mean of all."""
    p = np.exp(logs_ExNxC)
    top = -np.sort(-logs_ExNxC, axis=2)[..., :TOP]
    top = np.pad(top, ((0, 0), (0, 0), (0, TOP - top.shape[2])), constant_values=-20.0)
    entropy = special.entr(p).sum(2, keepdims=True)
    agreement = (p * p.mean(0)).sum(2, keepdims=True)
    return np.concatenate([np.maximum(top, -20.0) / 5, entropy, agreement], axis=2).astype(np.float32)


def _fused(params: Params, logs_ExNxC: jax.Array, nodes_ExNxV: jax.Array, graph_ExE: jax.Array) -> jax.Array:
    h = nodes_ExNxV
    for at in range(len(params)):
        h = jnp.einsum("ef,fnv->env", graph_ExE, h) @ params[str(at)]
        h = h if at == len(params) - 1 else jax.nn.relu(h)
    weight_ExN = jax.nn.softmax(h[..., 0], axis=0)
    return jnp.einsum("en,enc->nc", weight_ExN, logs_ExNxC)


def _fused_loss(params: Params, given: Any) -> jax.Array:
    logs_ExPxC, nodes_ExPxV, graph_ExE, label_P, decay = given
    scores = _fused(params, logs_ExPxC, nodes_ExPxV, graph_ExE)
    return -jnp.mean(own_log_probability(scores, label_P)) + decay * optax.tree.norm(params, squared=True)


def _stacked(params: Params, logs_ExNxC: jax.Array) -> jax.Array:
    mixed = jnp.einsum("enc,ecd->nd", logs_ExNxC, params["kernel"]) + params["bias"]
    return jnp.mean(logs_ExNxC, axis=0) + mixed


def _stacked_loss(params: Params, given: Any) -> jax.Array:
    logs_ExPxC, label_P, decay = given
    apart = decay * optax.tree.norm(params["kernel"], squared=True)
    return -jnp.mean(own_log_probability(_stacked(params, logs_ExPxC), label_P)) + apart


@functools.partial(jax.jit, static_argnums=(0, 1))
def _descend(loss: Any, pace: tuple[int, float], params: Params, given: Any) -> Params:
    optimizer = optax.adam(pace[1])

    def step(carry: Any, _: None) -> Any:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, given), state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, optimizer.init(params)), None, pace[0])[0][0]
