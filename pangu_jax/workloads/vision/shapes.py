"""A vision model in numbers (`pangu_jax.workloads.shape`): the trunk's towers, and what objectives add.

Only the main stage is cut over a pipeline's stages. What an objective shows is counted in units of a picture,
stream by stream: attention sees those of its own stream, and everything else their sum.
"""

from collections.abc import Sequence
from functools import singledispatch
from typing import Any, NamedTuple

from pangu_jax.errors import UserError
from pangu_jax.workloads.shape import Attention, End, Product, Shape, Tower
from pangu_jax.workloads.vision.model.contrast import NeighbourContrast
from pangu_jax.workloads.vision.model.hierarchical import INNER, HierarchicalConfig
from pangu_jax.workloads.vision.model.masked import MaskedPixels
from pangu_jax.workloads.vision.model.objective import PictureObjective
from pangu_jax.workloads.vision.model.plain import PlainConfig
from pangu_jax.workloads.vision.model.restoring import Restoration
from pangu_jax.workloads.vision.model.trunk import TrunkConfig

Towers = tuple[Tower, ...]
Ends = tuple[End, ...]


class Shown(NamedTuple):
    """What an objective shows the trunk, and what it adds to it.

    Attributes:
      units: of a picture, in each stream.
      taught: the same of what the averaged teacher sees.
      towers: its own.
      ends: its own.
    """

    units: tuple[int, ...]
    taught: tuple[int, ...] = ()
    towers: Towers = ()
    ends: Ends = ()


def shape_of(trunk: Any, objectives: Sequence[PictureObjective], size: int, channels: int) -> Shape:
    """A model in numbers; UserError where the trunk or an objective has none.

    Args:
      trunk: a `TrunkConfig`.
      objectives: what is learnt.
      size: pixels of a picture's side.
      channels: of a picture.
    """
    if trunk is None:
        raise UserError("no layout is planned for a model without a trunk: Layout.data splits its pictures")
    shown = [of_objective(one, trunk, size, channels) for one in objectives]
    units = tuple(n for one in shown for n in one.units)
    taught = tuple(n for one in shown for n in one.taught)
    towers, ends = of_trunk(trunk, units)
    if taught:
        again, ends_again = of_trunk(trunk, taught)
        towers += tuple(t._replace(name=f"teacher {t.name}", staged=False, learns=False) for t in again)
        ends += tuple(e._replace(name=f"teacher {e.name}", kind="forward") for e in ends_again)
    for one in shown:
        towers, ends = towers + one.towers, ends + one.ends
    return Shape(towers, ends)


@singledispatch
def of_trunk(trunk: Any, units: tuple[int, ...]) -> tuple[Towers, Ends]:
    """Towers and ends of a trunk that sees so many units of a picture in each stream."""
    del units
    raise UserError(f"no layout can be planned for a trunk {type(trunk).__name__}: bind Layout.* yourself")


@singledispatch
def of_objective(objective: Any, trunk: TrunkConfig, size: int, channels: int) -> Shown:
    """What an objective shows and adds, for pictures of so many pixels a side and so many channels."""
    del trunk, size, channels
    raise UserError(f"no layout can be planned for {type(objective).__name__}: bind Layout.* yourself")


@of_trunk.register
def _hierarchical(trunk: HierarchicalConfig, units: tuple[int, ...]) -> tuple[Towers, Ends]:
    """HiViT: perceptrons on sixteen tokens of a unit, then on four, then the main stage."""
    first, second, main = trunk.widths
    seen = sum(units)
    early = tuple(
        Tower(name, 2 * depth, seen * tokens, width,
              _perceptron(width, int(trunk.stem_ratio * width), seen * tokens), (), 1, staged=False)
        for name, depth, tokens, width in zip(
            ("first", "second"), trunk.depths, (INNER**2, INNER), (first, second), strict=False
        )
    )  # fmt: skip
    layers = _transformer("main", trunk.layers, main, int(trunk.ratio * main), trunk.heads, units)
    ends = (
        End("stem", trunk.patch**2 * trunk.channels, first, seen * INNER**2, "input"),
        End("first_merge", 4 * first, second, seen * INNER, "product"),
        End("second_merge", 4 * second, main, seen, "product"),
    )
    return (*early, layers), ends


@of_trunk.register
def _plain(trunk: PlainConfig, units: tuple[int, ...]) -> tuple[Towers, Ends]:
    """ViT: all of it is the main stage. A head of classes is not learnt here."""
    seen = tuple(n + trunk.class_token for n in units)
    layers = _transformer("main", trunk.layers, trunk.d_model, trunk.hidden, trunk.heads, seen)
    patches = End("patch", trunk.patch**2 * trunk.channels, trunk.d_model, sum(units), "input")
    return (layers,), (patches,)


@of_objective.register
def _masked(objective: MaskedPixels, trunk: TrunkConfig, size: int, channels: int) -> Shown:
    """Some units through the trunk, all of them through the painter."""
    del size
    kept, width = objective.kept(trunk.units), objective.width
    painter = _transformer("painter", objective.layers, width, 4 * width, objective.heads, (trunk.units,))
    ends = (
        End("masked_embed", sum(trunk.feature_widths), width, kept, "product"),
        End("masked_paint", width, trunk.unit**2 * channels, trunk.units, "product", loss_chunks=1),
    )
    return Shown((kept,), (), (painter._replace(staged=False),), ends)


@of_objective.register
def _contrast(objective: NeighbourContrast, trunk: TrunkConfig, size: int, channels: int) -> Shown:
    """Two views, some units of them to the trunk and all to its teacher; each embedding with a queue."""
    del size, channels
    views, hidden, width = objective.views, objective.hidden, objective.width
    ends: Ends = ()
    for number, wide in enumerate(reversed(trunk.feature_widths[-objective.stages :]), start=1):
        projection = (
            End(f"contrast_up_{number}", wide, hidden, views, "product"),
            End(f"contrast_down_{number}", hidden, width, views, "product"),
        )
        queue = End(f"contrast_queue_{number}", width, objective.queue, views, "constant", loss_chunks=1)
        ends += (*projection, *(end._replace(kind="forward") for end in projection), queue)
        if objective.neighbours:
            ends += (queue._replace(kind="forward"),)
    return Shown((objective.shown(trunk),) * views, (trunk.units,) * views, (), ends)


@of_objective.register
def _restoration(objective: Restoration, trunk: TrunkConfig, size: int, channels: int) -> Shown:
    """The whole picture through the trunk, and convolutions: each a product over nine places. A step is about
    one task; heads and tails of the others rest."""
    width, values, places = objective.width, channels * objective.fold**2, (size // objective.fold) ** 2
    resting = len(objective.tasks) - 1
    side = trunk.unit // objective.fold
    ends = (
        End("restoration_head", 9 * (values + 1), width, places, "input"),
        *[End("restoration_block", 9 * width, width, places, "product")] * (2 * objective.blocks),
        End("restoration_project", sum(trunk.feature_widths), side**2 * width, trunk.units, "product"),
        End("restoration_tail", 9 * width, values, places, "product", loss_chunks=1),
        *[End("restoration_head", 9 * (values + 1), width, 0, "input")] * resting,
        *[End("restoration_tail", 9 * width, values, 0, "product")] * resting,
    )
    return Shown((trunk.units,), (), (), ends)


def _perceptron(width: int, hidden: int, tokens: int) -> tuple[Product, ...]:
    return (
        Product(width, hidden, tokens, "columns", saved=True),
        Product(hidden, width, tokens, "rows", saved=False),
    )


def _transformer(
    name: str, layers: int, width: int, hidden: int, heads: int, units: tuple[int, ...]
) -> Tower:
    """Layers of attention and a perceptron, without an attention kernel: windows are short."""
    seen = sum(units)
    products = (
        Product(width, 3 * width, seen, "columns", saved=True),
        Product(width, width, seen, "rows", saved=False),
        *_perceptron(width, hidden, seen),
    )
    attentions = tuple(Attention(heads, width // heads, n, n, causal=False, plain=True) for n in units)
    return Tower(name, layers, seen, width, products, attentions, 2)
