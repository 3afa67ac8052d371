"""Clusters of GPUs as people name them, nodes x GPUs of each; and what JAX takes of a card's memory."""

import math
import os
from collections.abc import Mapping

from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.gpu_cards import Card

MOST = 2**17  # GPUs of a cluster
# What JAX's allocator takes of a card's memory, at once and at most, unless it is told otherwise.
MEMORY_FRACTION = 0.75
MEMORY_VARIABLES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")  # JAX's, new and old


def shape(text: str, card: Card, numbers: tuple[int, ...]) -> tuple[int, int]:
    """(nodes, GPUs of each) of a name; BackendError in one line, with the nearest, for what is no cluster.

    Args:
      text: the name that was given.
      card: what is in the nodes.
      numbers: those after the colon; none where they could not be read.
    """
    if len(numbers) == 2 and 0 < numbers[1] <= card.domain and 0 < numbers[0] * numbers[1] <= MOST:
        return numbers[0], numbers[1]
    why = f"GPUs are given as nodes x GPUs of each, at most {card.domain} {card.name} a node"
    if math.prod(numbers) > MOST:
        why += f" and {MOST} in all"
    near = ", ".join(_near(card, math.prod(max(1, one) for one in numbers) if numbers else card.domain))
    raise BackendError(f"no topology {text!r}: {why}; nearest: {near}")


def domain(card: Card, nodes: int, gpus: int) -> int:
    """GPUs that NVLink joins: a node, or as many whole nodes as a domain of the card has."""
    return gpus * min(nodes, max(1, card.domain // gpus))


def larger(card: Card, nodes: int, gpus: int) -> str:
    """The name of the next larger cluster: a fuller node, or twice as many nodes."""
    if nodes == 1 and gpus < card.domain:
        return f"{card.name}:1x{min(2 * gpus, card.domain)}"
    return f"{card.name}:{2 * nodes}x{gpus}"


def memory_fraction(given: float | None = None, environment: Mapping[str, str] = os.environ) -> float:
    """What a program may use of a card's memory, as a fraction; BackendError for what is none.

    Args:
      given: by the person who asks; None for what JAX would take in this environment.
      environment: where JAX reads MEMORY_VARIABLES.
    """
    said, where = (str(given), "--memory_fraction") if given is not None else ("", "")
    for variable in MEMORY_VARIABLES:
        if not said and environment.get(variable):
            said, where = environment[variable], variable
    if not said:
        return MEMORY_FRACTION
    try:
        fraction = float(said)
    except ValueError:
        fraction = math.nan
    if not 0 < fraction <= 1:
        raise BackendError(f"{where} {said}: it is a fraction of a card's memory, above 0 and at most 1")
    return fraction


def _near(card: Card, count: int) -> list[str]:
    """Whole nodes of about that many GPUs, and exactly as many in smaller nodes."""
    count = min(max(count, 1), MOST)
    if count <= card.domain:
        return [f"{card.name}:1x{count}"]
    found = [f"{card.name}:{math.ceil(count / card.domain)}x{card.domain}"]
    smaller = min(count & -count, 4)
    if count % card.domain and smaller > 1:
        found.append(f"{card.name}:{count // smaller}x{smaller}")
    return found
