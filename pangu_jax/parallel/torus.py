"""Which dimensions of a torus a mesh axis takes: one answer, for meshes and for what is predicted of them.

Of chips that are several devices the grid's first dimension is the devices of a chip, which are joined faster
than chips are.
"""

from collections.abc import Mapping, Sequence

# The order in which axes take whole dimensions: the collectives of the first are the most urgent. `fsdp` gets
# what is left.
URGENT = ("model", "expert", "sequence", "stage", "data")

Part = tuple[int, int]  # a dimension of the grid, and how much of it


def take(
    sizes: Mapping[str, int], grid: Sequence[int], inside: int = 1
) -> tuple[dict[str, list[Part]], list[int]]:
    """What each urgent axis takes that fits one dimension, with a chip's devices or without, what is free.

    Args:
      sizes: mesh axis -> size.
      grid: devices in each dimension.
      inside: devices of a chip; where there are several, `grid[0]`.
    """
    free = list(grid)
    taken: dict[str, list[Part]] = {axis: [] for axis in URGENT}
    for axis in URGENT:
        taken[axis] = _dimensions(free, sizes[axis], inside) if sizes[axis] > 1 else []
        for dimension, part in taken[axis]:
            free[dimension] //= part
    return taken, free


def axis_inside(sizes: Mapping[str, int], grid: Sequence[int], inside: int) -> str | None:
    """The axis along which the devices of a chip lie; None where none is a multiple of their number."""
    taken, _ = take(sizes, grid, inside)
    first = [axis for axis, parts in taken.items() if (0, inside) in parts]
    return next((axis for axis in (*first, "fsdp", *URGENT) if sizes[axis] % inside == 0), None)


def _dimensions(free: Sequence[int], size: int, inside: int) -> list[Part]:
    beside = 0  # what all devices of a chip would leave to take
    if inside > 1 and free[0] == inside and size % inside == 0:
        beside = size // inside
    chips = range(1 if inside > 1 else 0, len(free))
    if beside == 1:
        return [(0, inside)]
    for dimension in chips:
        if beside == free[dimension]:
            return [(0, inside), (dimension, beside)]
    # Whole dimensions rather than parts of larger ones.
    if fit := [dimension for dimension in chips if free[dimension] % size == 0]:
        return [(min(fit, key=lambda dimension: (free[dimension] != size, free[dimension])), size)]
    if beside and (fit := [dimension for dimension in chips if free[dimension] % beside == 0]):
        return [(0, inside), (min(fit, key=lambda dimension: free[dimension]), beside)]
    return []
