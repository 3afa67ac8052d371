"""Omniglot as a pool for `benchmarks.one_bit`: 100 characters as 20 people drew them, in features that nobody
trained: histograms of oriented gradients, turned so that deformed views of one picture lie close together.

No label is used for the features. 14 drawers are the pool, six are held out.
"""

import io
import zipfile
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image
from scipy import ndimage

from pangu_jax.apps.vision.iteration.pool import Pool
from pangu_jax.apps.vision.iteration.pool_features import PoolFeatures

CLASSES, DRAWERS, HELD_OUT = 100, 20, 6
SIDE, MARGIN = 48, 6  # pixels of a character that is cut out and centred
CELLS, BINS = 8, 8
VIEWS = 6  # deformed ones, beside the plain one
TURN, SHEAR, STRETCH = 20.0, 0.2, 0.3  # degrees, and factors, at most
WIDTH = 128
LEAST = 1.0  # of the mean variance between views, that is added before it is divided by


def read(folder: Path) -> tuple[PoolFeatures, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Features, labels of the pool and of what is held out, names.

    Args:
      folder: with images_background_small1.zip and small2.zip; two alphabets are in both, and count once.
    """
    pictures: dict[str, dict[int, np.ndarray]] = {}
    for archive in sorted(folder.glob("images_background_small*.zip")):
        with zipfile.ZipFile(archive) as found:
            for name in found.namelist():
                if name.endswith(".png"):
                    _, alphabet, character, file = name.split("/")
                    drawer = int(Path(file).stem.split("_")[1])
                    grey = Image.open(io.BytesIO(found.read(name))).convert("L")
                    pictures.setdefault(f"{alphabet}-{character}", {})[drawer] = 255.0 - np.asarray(grey)
    names = tuple(sorted(pictures))[:CLASSES]
    rng, last = np.random.default_rng(0), DRAWERS - HELD_OUT
    views, held, label, held_label = [], [], [], []
    for number, name in enumerate(names):
        for drawer, ink in sorted(pictures[name].items()):
            if drawer <= last:
                views.append([oriented(cut(ink, np.eye(2)))])
                views[-1] += [oriented(cut(ink, deformation(rng))) for _ in range(VIEWS)]
                label.append(number)
            else:
                held.append(oriented(cut(ink, np.eye(2))))
                held_label.append(number)
    features = turned(np.array(views, np.float32), np.array(held, np.float32))
    return features, np.array(label), np.array(held_label), names


def pool_of(
    label_N: np.ndarray, held_label_M: np.ndarray, names: tuple[str, ...], each: int, seed: int
) -> Pool:
    """The pool with so many labels of each class at the start, drawn."""
    rng = np.random.default_rng([seed, 77])
    start_N = np.full(len(label_N), -1)
    for c in range(len(names)):
        start_N[rng.permutation(np.flatnonzero(label_N == c))[:each]] = c
    # Rounds look at rows alone; the files of these pictures are not asked for.
    return Pool(
        cast(Any, None), np.arange(len(label_N)), start_N, names, np.arange(len(held_label_M)), held_label_M
    )


def cut(ink_HxW: np.ndarray, matrix_2x2: np.ndarray) -> np.ndarray:
    """What is drawn, centred and of one size, deformed by a matrix; fp32 [48, 48]."""
    down, across = np.nonzero(ink_HxW > 64)
    edges = np.array([[down.min(), across.min()], [down.max() + 1, across.max() + 1]])
    scale = max(*(edges[1] - edges[0]), 20) / (SIDE - 2 * MARGIN)
    smooth = ndimage.gaussian_filter(ink_HxW, 0.5 * scale)
    offset = edges.mean(0) - scale * matrix_2x2 @ np.full(2, SIDE / 2)
    return ndimage.affine_transform(smooth, scale * matrix_2x2, offset, output_shape=(SIDE, SIDE), order=1)


def deformation(rng: np.random.Generator) -> np.ndarray:
    """A small turn, shear and stretch, [2, 2]."""
    angle = np.deg2rad(rng.uniform(-TURN, TURN))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1, rng.uniform(-SHEAR, SHEAR)], [rng.uniform(-SHEAR, SHEAR), 1]])
    return turn @ shear @ np.diag(np.exp(rng.uniform(-STRETCH, STRETCH, 2)))


def oriented(pixels_SxS: np.ndarray) -> np.ndarray:
    """Roots of histograms of oriented gradients in 8 x 8 soft cells, of length 1, [512]."""
    by_row, by_column = np.gradient(ndimage.gaussian_filter(pixels_SxS, 1.0))
    strength = np.hypot(by_row, by_column)
    angle = np.arctan2(by_row, by_column) % np.pi * BINS / np.pi
    low, share = np.floor(angle).astype(int) % BINS, angle - np.floor(angle)
    maps = np.zeros((BINS, SIDE, SIDE), np.float32)
    rows, columns = np.indices((SIDE, SIDE))
    maps[low, rows, columns] += strength * (1 - share)
    maps[(low + 1) % BINS, rows, columns] += strength * share
    cell = SIDE / CELLS
    maps = ndimage.gaussian_filter(maps, (0, cell / 2, cell / 2))
    middle = ((np.arange(CELLS) + 0.5) * cell).astype(int)
    found = np.sqrt(np.maximum(maps[:, middle][:, :, middle].reshape(-1), 0))
    return found / np.linalg.norm(found)


def turned(views_NxVxF: np.ndarray, held_MxF: np.ndarray) -> PoolFeatures:
    """The directions in which pictures differ most beside what views of one picture differ by: linear
    discriminants (Fisher) whose classes are single pictures."""
    mean_F = views_NxVxF[:, 0].mean(0)
    x_NxVxF = views_NxVxF - mean_F
    plain_NxF, width = x_NxVxF[:, 0], x_NxVxF.shape[2]
    apart_RxF = (x_NxVxF - x_NxVxF.mean(1, keepdims=True)).reshape(-1, width)
    variance_F, vectors_FxF = np.linalg.eigh(apart_RxF.T @ apart_RxF / len(apart_RxF))
    whiten_FxF = vectors_FxF / np.sqrt(variance_F + LEAST * variance_F.mean())
    between_FxF = whiten_FxF.T @ (plain_NxF.T @ plain_NxF / len(plain_NxF)) @ whiten_FxF
    turn_FxW = whiten_FxF @ np.linalg.eigh(between_FxF)[1][:, -WIDTH:]
    turn_FxW /= np.sqrt(np.mean(np.square(plain_NxF @ turn_FxW)))
    seen, held = x_NxVxF @ turn_FxW, (held_MxF - mean_F) @ turn_FxW
    return PoolFeatures(seen.astype(np.float16), held.astype(np.float16), 0.0)
