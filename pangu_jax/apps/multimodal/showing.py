"""What a report shows of a model of pictures and captions: what texts find, and what is written."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from pangu_jax.apps.multimodal.captioning import Captioner
from pangu_jax.apps.multimodal.embedding import Embedder
from pangu_jax.workloads import RunContext, Variables, Workload
from pangu_jax.workloads.exhibits import Exhibit, Image, Table
from pangu_jax.workloads.multimodal import ImageTextModel

SEARCHED = 512  # pictures that are held out, at most, among which texts find theirs
ASKED, BEST, WRITTEN, COMPARED = 6, 6, 8, 32  # texts, pictures of each; captions; rows of the matrix
GAP, CELL = 4, 8  # pixels between a picture and what was found; pixels of a similarity


def exhibits(workload: Workload, variables: Variables, run: RunContext) -> Sequence[Exhibit]:
    """Pictures that texts find, captions that are written, similarities; nothing without held-out pairs."""
    held_out: Any = getattr(getattr(workload, "data", None), "held_out", None)
    if not isinstance(workload, ImageTextModel) or held_out is None or jax.process_count() > 1:
        return ()
    if not (count := min(SEARCHED, held_out.picture_count)):
        return ()
    views, params = _views(held_out, count), workload.complete(variables)
    shown: list[Exhibit] = []
    if workload.config.contrast != "none":
        shown += _found(Embedder(workload, params, run), held_out, views)
    if workload.config.text.memory_width:
        shown += _written(Captioner(workload, params, run), held_out, views[:WRITTEN])
    return shown


def _views(held_out: Any, count: int) -> np.ndarray:
    """The first pictures as a tower takes them, uint8 [count, S, S, C]."""
    source = held_out.with_pixels().pictures_once(count)
    return source.batch(0)["image"][:, -1]


def _found(embedder: Embedder, held_out: Any, views_NxSxSxC: np.ndarray) -> list[Exhibit]:
    """A sheet for each of some texts, best match first; and the matrix of similarities."""
    texts = [
        held_out.text[int(held_out.texts_of(place)[0])] for place in range(min(COMPARED, len(views_NxSxSxC)))
    ]
    near_TxN = embedder.texts(texts) @ embedder.pictures(views_NxSxSxC).T
    among = f"of {len(views_NxSxSxC)} held-out pictures"
    shown: list[Exhibit] = []
    for place, text in enumerate(texts[:ASKED]):
        order = np.argsort(-near_TxN[place], kind="stable")
        at = int(np.flatnonzero(order == place)[0]) + 1
        best = [views_NxSxSxC[number] for number in order[:BEST]]
        title = f"{text}: the best matches {among}; its own picture, behind the gap, is number {at}"
        shown.append(Image(title, np.concatenate([*best, _gap(best[0]), views_NxSxSxC[place]], axis=1)))
    square = near_TxN[:, : len(texts)]
    title = "similarities of texts (rows) and pictures (columns); the right ones are on the diagonal"
    return [*shown, Image(title, _matrix(square))]


def _written(captioner: Captioner, held_out: Any, views_NxSxSxC: np.ndarray) -> list[Exhibit]:
    """Pictures with the captions that are written of them, and beside these one of their own."""
    rows = []
    shown: list[Exhibit] = []
    for place, text in enumerate(captioner(views_NxSxSxC)):
        own = held_out.text[int(held_out.texts_of(place)[0])]
        rows.append((held_out.picture_name(place), text, own))
        shown.append(Image(f"{held_out.picture_name(place)}: {text}", views_NxSxSxC[place]))
    return [*shown, Table("captions of held-out pictures", ("picture", "written", "one of its own"), rows)]


def _gap(view_SxSxC: np.ndarray) -> np.ndarray:
    return np.full((view_SxSxC.shape[0], GAP, view_SxSxC.shape[2]), 255, np.uint8)


def _matrix(near_NxN: np.ndarray) -> np.ndarray:
    """Grey, the least similar black and the most similar white, uint8 [H, W, 1]."""
    low, high = near_NxN.min(), near_NxN.max()
    grey = np.rint(255 * (near_NxN - low) / max(high - low, 1e-6)).astype(np.uint8)
    return np.repeat(np.repeat(grey, CELL, axis=0), CELL, axis=1)[..., None]
