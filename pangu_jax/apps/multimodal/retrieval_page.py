"""A page of what queries found, with small pictures inside: it needs no other file."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_pipelines.images import decoding
from data_pipelines.images.decoding import PictureError
from data_pipelines.templates import rendered
from pangu_jax.apps.multimodal.retrieving import FoundPictures

SIDE = 240  # pixels of a small picture's longer side


def render(title: str, about: str, found: Sequence[FoundPictures], pictures: Path) -> str:
    """The page.

    Args:
      title: of the page.
      about: a line below it.
      found: what each query found.
      pictures: the folder in which the names of matches are.
    """
    queries = [
        {
            "query": one.query,
            "picture": small_picture(Path(one.query)) if one.is_picture else "",
            "matches": [
                {
                    "name": match.name,
                    "cosine": f"{match.cosine:.3f}",
                    "picture": small_picture(pictures / match.name),
                }
                for match in one.matches
            ],
        }
        for one in found
    ]
    return rendered(
        "pangu_jax.apps.multimodal", "retrieval.html.jinja", title=title, about=about, queries=queries
    )


def small_picture(path: Path) -> str:
    """A file's picture as a data URI of a JPEG; "" where it is of no use any more."""
    from PIL import Image

    try:
        pixels_HxWxC: np.ndarray = decoding.decode(path.read_bytes(), "RGB", SIDE)
    except (OSError, PictureError):
        return ""
    image, buffer = Image.fromarray(pixels_HxWxC), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
