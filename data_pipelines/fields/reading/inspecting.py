"""What is in a file, variable by variable: what each would become in a store, or why it cannot."""

import json
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError
from data_pipelines.fields.reading import files
from data_pipelines.fields.reading.choices import FieldChoices
from data_pipelines.fields.reading.horizontal import placement
from data_pipelines.fields.reading.pieces import when
from data_pipelines.fields.store import ABOUT


def is_store(path: Path) -> bool:
    """Whether `pangu fields build` (or the simulator, or a forecast) wrote it."""
    try:
        return ABOUT in json.loads((path / "zarr.json").read_text("utf-8")).get("attributes", {})
    except (OSError, ValueError, AttributeError):
        return False


def inspect(path: Path, choices: FieldChoices) -> list[dict[str, Any]]:
    """A row for each variable: source, becomes ("" for nothing) and about, in words.

    Raises:
      DataError: it is no file of fields.
    """
    files.kind_of(path)
    rows = []
    for source in files.sources(path):
        try:
            contents = files.look(path, choices.only(source, path.name))
        except DataError as error:
            rows.append({"source": source, "becomes": "", "about": str(error).removeprefix(f"{path}: ")})
            continue
        reason = contents.left_out.get(source, "")
        pieces = [piece for piece in contents.pieces if piece.source == source]
        if not pieces:
            rows.append({"source": source, "becomes": "", "about": reason})
            continue
        levels = sorted({level for piece in pieces for level in piece.levels}, reverse=True)
        times = sorted({hour for piece in pieces for hour in piece.hours})
        grid = placement(pieces[0].latitude, pieces[0].longitude, str(path)).grid((), "hPa")
        about = [f"{len(times)} times {when(times[0])} to {when(times[-1])}"] if times else ["constant"]
        about += [f"levels {' '.join(f'{level:g}' for level in levels)}"] if levels else []
        about.append(f"{grid.shape[1]} x {grid.shape[2]}{' around the globe' if grid.periodic else ''}")
        rows.append({"source": source, "becomes": pieces[0].name, "about": ", ".join(about)})
    return rows
