"""Parameters by regular expression over their paths: what a group does differently from the rest."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gin
import jax
import optax

from pangu_jax.errors import UserError

Tree = Any
# Scales and biases of norms, single vectors such as class tokens, a contrast's temperature: pulled to zero
# they only get worse.
NOT_DECAYED = re.compile(r"(^|/)(scale|log_scale|[a-z_]*bias|[a-z_]*token|position)$")


@gin.configurable
@dataclass(frozen=True)
class ParameterGroup:
    """Parameters whose path matches, and what holds for them instead of the optimizer's own settings.

    A path is the names from the root, such as "encoder/attention/qkv" or "head/kernel". The first group of an
    optimizer that matches takes the parameter; what no group takes learns as the optimizer says.

    Args:
      pattern: a regular expression that is searched for in the path: "^encoder/", "/bias$".
      learning_rate: factor on the schedule.
      schedule: step -> learning rate, in place of the optimizer's.
      weight_decay: in place of the optimizer's; that of norms, biases, tokens and temperatures too.
      frozen: the parameters stay as they are: no gradient, no optimizer state.
    """

    pattern: str
    learning_rate: float = 1.0
    schedule: optax.Schedule | None = None
    weight_decay: float | None = None
    frozen: bool = False

    def __post_init__(self):
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise UserError(
                f"ParameterGroup.pattern = {self.pattern!r} is no regular expression: {error}"
            ) from None
        if self.frozen and (self.learning_rate != 1.0 or self.schedule or self.weight_decay):
            raise UserError(
                f"ParameterGroup.pattern = {self.pattern!r}: a frozen group has no learning rate, schedule "
                "or weight decay; leave them out"
            )


def paths(params: Tree) -> Tree:
    """The path of each parameter, such as "encoder/attention/qkv", in the structure of `params`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), params
    )


def is_decayed(params: Tree) -> Tree:
    """A bool for each parameter: False for scales, biases, temperatures and single tokens."""
    return jax.tree.map(lambda path: not NOT_DECAYED.search(path), paths(params))


def numbers(params: Tree, groups: Sequence[ParameterGroup]) -> Tree:
    """The number of the first group that takes each parameter; -1 for those of none.

    Raises:
      UserError: a group matches no parameter, which is a slip in its pattern.
    """
    named = paths(params)
    for group in groups if jax.tree.leaves(named) else ():  # optax looks at states by a tree without leaves
        if not any(re.search(group.pattern, path) for path in jax.tree.leaves(named)):
            near = difflib.get_close_matches(
                group.pattern.strip("^$/"), jax.tree.leaves(named), n=1, cutoff=0.3
            )
            hint = f" such as {near[0]}" if near else ""
            raise UserError(
                f"ParameterGroup.pattern = {group.pattern!r} matches no parameter of this model; its paths "
                f"are names joined by /,{hint or ' see `pangu checkpoint inspect`'}"
            )

    def number(path: str) -> int:
        return next((i for i, group in enumerate(groups) if re.search(group.pattern, path)), -1)

    return jax.tree.map(number, named)


def trainable(params: Tree, groups: Sequence[ParameterGroup]) -> Tree | None:
    """A bool for each parameter, False for frozen ones; None where all learn."""
    if not any(group.frozen for group in groups):
        return None
    found = jax.tree.map(lambda number: number < 0 or not groups[number].frozen, numbers(params, groups))
    if not any(jax.tree.leaves(found)):
        raise UserError("every parameter is in a frozen ParameterGroup: there is nothing to train")
    return found
