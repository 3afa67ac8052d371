"""Where tokens went, as a report shows it: a table of layers, and a picture of their experts."""

import numpy as np

from pangu_jax.workloads.exhibits import Exhibit, Image, Table

EMPTY, FULL = np.array([247, 251, 255.0]), np.array([8, 48, 107.0])  # no load, and three times the even one
CELL, GAP = 18, 2  # pixels


def load_of_experts(share_LxE: np.ndarray) -> list[Exhibit]:
    """Exhibits of the shares [layers, E] of loads, which sum to 1 in each layer."""
    experts = share_LxE.shape[1]
    rows = [
        [
            number,
            float(share_E.max() * experts),
            float(share_E.min() * experts),
            int(share_E.argmax()),
            float(np.mean(share_E < 0.1 / experts)),
        ]
        for number, share_E in enumerate(share_LxE)
    ]
    headings = [
        "layer with experts",
        "fullest, times the even load",
        "emptiest, times the even load",
        "number of the fullest",
        "part of experts below a tenth of it",
    ]
    title = "load of experts: a row for each layer, dark for three times the even load, white for none"
    return [Table("load of experts", headings, rows), Image(title, _picture(share_LxE * experts))]


def _picture(times_LxE: np.ndarray) -> np.ndarray:
    """uint8 [height, width, 3], a cell for each expert."""
    depth = np.clip(times_LxE / 3.0, 0, 1)[..., None]
    cells_LxEx3 = EMPTY + (FULL - EMPTY) * depth
    layers, experts = times_LxE.shape
    pixels = np.full((layers, CELL + GAP, experts, CELL + GAP, 3), 255.0)
    pixels[:, :CELL, :, :CELL] = cells_LxEx3[:, None, :, None]
    return pixels.reshape(layers * (CELL + GAP), experts * (CELL + GAP), 3).astype(np.uint8)
