"""Which part of a tensor of theirs is which part of an array of ours: one description, for both directions.

A part is cut out of their tensor, split into its axes, put in our order and laid into our array. Nothing is
computed, so what goes there and back is the same to the bit.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from types import EllipsisType
from typing import Any, NamedTuple

import jax
import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.runs.exchange.tensors import DTYPES, Tensors

Shape = tuple[int, ...]
Index = tuple[int | slice | EllipsisType, ...]
ALL: Index = (...,)
FIRST_FEW = 3
MAPPED = 1 << 25  # numbers of tensors whose pages of the files stay in memory


class TensorPart(NamedTuple):
    """A part of one tensor.

    Attributes:
      path: of our array ("main/attention/qkv").
      ours: where in our array.
      axes: sizes of their part when it is split into axes.
      order: the order that these axes have in ours.
      theirs: where in their tensor.
    """

    path: str
    ours: Index
    axes: Shape
    order: Sequence[int]
    theirs: Index = ALL


class ForeignTensor(NamedTuple):
    """One tensor of theirs.

    Attributes:
      name: of theirs.
      shape: of theirs.
      parts: what it consists of.
    """

    name: str
    shape: Shape
    parts: tuple[TensorPart, ...]


def tensor(
    name: str, shape: Shape, path: str, ours: Index = ALL, axes: Shape = (), order: str = ""
) -> ForeignTensor:
    """One that is all of one array, or a part of it.

    Args:
      name: of theirs.
      shape: of theirs.
      path: of our array.
      ours: where in it.
      axes: see TensorPart; the shape unless given.
      order: digits, see TensorPart; as they are unless given.
    """
    axes = axes or shape
    digits = [int(digit) for digit in order] or range(len(axes))
    return ForeignTensor(name, shape, (TensorPart(path, ours, axes, tuple(digits)),))


def read(
    tensors: Tensors, table: Iterable[ForeignTensor], shapes: Mapping[str, Shape]
) -> dict[str, np.ndarray]:
    """Our arrays by path, of the widest dtype of their parts, filled tensor by tensor.

    Of the files as much is mapped into memory at a time as a few tensors are large.

    Args:
      tensors: theirs.
      table: all of theirs that are read.
      shapes: of ours by path.
    """
    dtypes: dict[str, set[str]] = {}
    for each in table:
        for part in each.parts:
            dtypes.setdefault(part.path, set()).add(tensors.dtypes[each.name])
    ours = {path: np.empty(shapes[path], _dtype(found)) for path, found in dtypes.items()}
    for group in _by_size(table):
        with tensors.reading() as stored:
            for each in group:
                theirs = stored(each.name)
                for part in each.parts:
                    where = ours[part.path][part.ours]
                    given = theirs[part.theirs].reshape(part.axes).transpose(part.order)
                    ours[part.path][part.ours] = given.reshape(where.shape)
    return ours


def _by_size(table: Iterable[ForeignTensor]) -> Generator[list[ForeignTensor]]:
    """The table in groups of at most MAPPED numbers, or one tensor."""
    group: list[ForeignTensor] = []
    numbers = 0
    for each in table:
        numbers += int(np.prod(each.shape))
        group.append(each)
        if numbers >= MAPPED:
            yield group
            group, numbers = [], 0
    if group:
        yield group


def one_by_one(
    tensors: Tensors, table: Iterable[ForeignTensor], shapes: Mapping[str, Shape]
) -> Generator[tuple[str, np.ndarray]]:
    """Our arrays with their paths, the largest first; of their files that are mapped one array's at a time.

    Arguments as of `read`. While what was taken is kept, the largest comes when there is most room.
    """
    by_path: dict[str, list[ForeignTensor]] = {}
    for each in table:
        for path in {part.path for part in each.parts}:
            by_path.setdefault(path, []).append(each)
    for path in sorted(by_path, key=lambda path: -int(np.prod(shapes[path]))):
        own = [
            each._replace(parts=tuple(part for part in each.parts if part.path == path))
            for each in by_path[path]
        ]
        yield path, read(tensors, own, shapes)[path]


def array_by_array(table: Iterable[ForeignTensor]) -> list[ForeignTensor]:
    """The table in an order in which each of our arrays is needed once, if tensors have one part each."""
    order: dict[str, list[ForeignTensor]] = {}
    for each in table:
        order.setdefault(each.parts[0].path, []).append(each)
    return [each for group in order.values() for each in group]


def written(each: ForeignTensor, ours: Callable[[str], np.ndarray]) -> np.ndarray:
    """One tensor of theirs, contiguous, of the dtype of our arrays."""
    theirs = np.empty(each.shape, ours(each.parts[0].path).dtype)
    for part in each.parts:
        turned = [part.axes[axis] for axis in part.order]
        given = ours(part.path)[part.ours].reshape(turned).transpose(np.argsort(part.order))
        theirs[part.theirs] = given.reshape(theirs[part.theirs].shape)
    return theirs


def require_same(tensors: Tensors, table: Iterable[ForeignTensor], what: str) -> None:
    """UserError unless the files hold the tensors of the table, each of its shape, and no other."""
    wanted, found = {each.name: each.shape for each in table}, tensors.shapes
    wrong = [f"{name} is missing" for name in wanted if name not in found]
    wrong += [
        f"{name} is {by(found[name])} instead of {by(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    wrong += [f"{name} has no place" for name in found if name not in wanted]
    if wrong:
        more = f", and {len(wrong) - FIRST_FEW} more" if len(wrong) > FIRST_FEW else ""
        raise UserError(
            f"{tensors.folder}: the tensors are not those of {what}: {', '.join(wrong[:FIRST_FEW])}{more}; "
            "bring all files of one such model"
        )


def by(shape: Shape) -> str:
    """ "768x3072"; "one number" of an empty shape."""
    return "x".join(map(str, shape)) or "one number"


def nested(arrays: Mapping[str, Any]) -> Tree:
    """A nested dict of what is named by path."""
    tree: Tree = {}
    for path, array in arrays.items():
        *parents, leaf = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = array
    return tree


def by_path(tree: Tree) -> dict[str, Any]:
    """The inverse of `nested`."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _dtype(found: set[str]) -> np.dtype:
    """fp32, which holds them all, where they differ."""
    return DTYPES[found.pop() if len(found) == 1 else "F32"]
