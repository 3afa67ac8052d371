"""What `benchmarks.few_labels` measures of finished runs: probes, fine-tuning, and PSNR.

Features of a picture are the mean of the main stage's tokens, which is what HiViT's own tail reads, averaged
over the picture and its mirror image: of every arm alike, by its averaged parameters. The probe's ridge is
chosen on the labels that it learns from, by leaving one out; test pictures decide nothing.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._few_labels_fine_tuning import tuner
from benchmarks._few_labels_probe import ridge
from data_pipelines.images.batches import Pictures
from data_pipelines.images.images import images
from pangu_jax.apps.vision.restoration import Protocol, noisy, psnr
from pangu_jax.apps.vision.restoration_quality import blurred
from pangu_jax.evaluation import bootstrap
from pangu_jax.runs import opening
from pangu_jax.workloads import Variables
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.degrading import STRONG, Degraded
from pangu_jax.workloads.vision.model.pixels import centred
from pangu_jax.workloads.vision.model.restoring import Restoration

DRAWS, CLASSES, LABELS = 5, 10, (500, 5000)
SIGMA, RESTORED = 25.0, 1000
BLURS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BATCH = 250  # pictures at once
Row = dict[str, Any]


class Model(NamedTuple):
    """A model as it is measured.

    Attributes:
      workload: a `VisionModel`.
      params: those that are evaluated.
      run: how a forward pass is carried out.
    """

    workload: Any
    params: Any
    run: Any


class Labelled(NamedTuple):
    """Pictures with their labels.

    Attributes:
      pixels_NxSxSxC: uint8.
      label_N: int.
    """

    pixels_NxSxSxC: np.ndarray
    label_N: np.ndarray

    def at(self, places: np.ndarray) -> "Labelled":
        """Some of them."""
        return Labelled(self.pixels_NxSxSxC[places], self.label_N[places])


def read(pictures: Pictures, held_out: bool) -> Labelled:
    """One side of a set."""
    places = pictures.places(held_out)
    return Labelled(np.stack([pictures.pixels(place) for place in places]), pictures.label_N[places])


def drawn(label_N: np.ndarray, labels: int, draw: int) -> np.ndarray:
    """Places of the pictures that are labelled in a draw, as many of each class; 500 are among the 5,000."""
    rng = np.random.default_rng([16, draw])
    each = [rng.permutation(np.flatnonzero(label_N == c))[: labels // CLASSES] for c in range(CLASSES)]
    return np.concatenate(each)


def opened(run_dir: Path) -> Model:
    """Of a finished run."""
    run = opening.open_run(run_dir, family="vision", float32=True)
    workload: Any = run.workload
    return Model(workload, workload.evaluated(run.variables).params, run.spread.run)


def fresh(model: Model, seed: int) -> Model:
    """One of its shape that has learnt nothing."""
    return model._replace(params=model.workload.init(jax.random.key(seed)).params)


class Measured:
    """Rows of the table, and which answers were right."""

    def __init__(self, asked: Labelled, say: Callable[[str], None]):
        self.rows: list[Row] = []
        self.right: dict[tuple[str, str, int], list[np.ndarray]] = {}
        self._asked, self._say = asked, say

    def answers(self, row: Row, scores_MxC: np.ndarray) -> None:
        """Of an arm, from the labels of one draw."""
        right_M = scores_MxC.argmax(1) == self._asked.label_N
        self.right.setdefault((row["arm"], row["how"], row["labels"]), []).append(right_M)
        self.rows.append(row | {"accuracy": round(float(100 * right_M.mean()), 2)})
        self._say(" ".join(map(str, self.rows[-1].values())))

    def restored(self, arm: str, made: Any) -> float:
        """The PSNR of an arm that needs no labels, as a row of its own."""
        found = _psnr(made, self._asked)
        self.rows.append(_row(arm, "none", 0, 0, 0, found))
        self._say(f"{arm}: {found:.2f} dB")
        return found

    def difference(self, first: str, second: str, how: str, labels: int) -> Row:
        """`first` minus `second` in points: mean and standard error over draws, which are paired, and 95% by
        the bootstrap over test pictures."""
        one, other = (np.stack(self.right[arm, how, labels]) for arm in (first, second))
        gain_DxM = 100.0 * (one.astype(np.float64) - other)
        of_draws = gain_DxM.mean(1)
        low, high = bootstrap.interval(gain_DxM.mean(0))
        return {
            "first": first,
            "second": second,
            "how": how,
            "labels": labels,
            "mean": round(float(of_draws.mean()), 2),
            "standard_error": round(float(of_draws.std(ddof=1) / len(of_draws) ** 0.5), 2),
            "bootstrap": [round(low, 2), round(high, 2)],
        }


def measure(runs: Mapping[str, Path], set_dir: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """`rows`: arm, how the labels were used, labels, draw, seed, accuracy, psnr; `differences` of arms; and
    their `parameters`, those of the objectives included.

    Args:
      runs: directories by arm; "joint" among them.
      set_dir: the pictures, train and test.
      say: told of each row.
    """
    pictures = images(path=str(set_dir)).pictures
    known, asked = read(pictures, False), read(pictures, True)
    draws = {(labels, draw): drawn(known.label_N, labels, draw) for labels in LABELS for draw in range(DRAWS)}
    used = np.unique(np.concatenate(list(draws.values())))
    found, degraded = Measured(asked, say), _noisy(asked)
    found.restored("noisy", degraded)
    for width in BLURS:
        found.restored(f"blur {width:g}", [blurred(x, width) for x in degraded])

    def probed(arm: str, known_NxF: np.ndarray, asked_NxF: np.ndarray, psnr: float | None) -> None:
        for (labels, draw), places in draws.items():
            probe = ridge(known_NxF[np.searchsorted(used, places)], known.label_N[places], CLASSES)
            found.answers(_row(arm, "probe", labels, draw, 0, psnr), probe(asked_NxF))

    probed("raw pixels 8x8", _shrunk(known.at(used)), _shrunk(asked), None)
    models = {arm: opened(run_dir) for arm, run_dir in runs.items()}
    scratch = fresh(models["joint"], 1)
    for arm, model in (models | {"random weights": scratch}).items():
        psnr = None
        if model is not scratch and any(isinstance(one, Restoration) for one in model.workload.objectives):
            psnr = found.restored(arm, restore(model, degraded))
        probed(arm, features(model, known.at(used)), features(model, asked), psnr)
    for arm, model in (("joint", models["joint"]), ("from scratch", scratch)):
        tune = tuner(model.workload, model.run, CLASSES)
        for draw in range(DRAWS):
            scores = tune(model.params, *known.at(draws[500, draw]), asked.pixels_NxSxSxC, draw)
            found.answers(_row(arm, "fine-tuned", 500, draw, draw, None), scores)
    others = [arm for arm in (*runs, "raw pixels 8x8", "random weights") if arm != "joint"]
    differences = [found.difference("joint", arm, "probe", labels) for labels in LABELS for arm in others]
    differences.append(found.difference("joint", "from scratch", "fine-tuned", 500))
    parameters = {arm: sum(x.size for x in jax.tree.leaves(models[arm].params)) for arm in runs}
    return {"parameters": parameters, "differences": differences, "rows": found.rows}


def _row(arm: str, how: str, labels: int, draw: int, seed: int, psnr: float | None) -> Row:
    rounded = None if psnr is None else round(psnr, 3)
    return {
        "arm": arm,
        "how": how,
        "labels": labels,
        "draw": draw,
        "seed": seed,
        "accuracy": None,
        "psnr": rounded,
    }


def _shrunk(given: Labelled) -> np.ndarray:
    """Pixels of 8 x 8, the mean of 4 x 4 each."""
    pixels = given.pixels_NxSxSxC.astype(np.float32)
    count, side, _, channels = pixels.shape
    return pixels.reshape(count, 8, side // 8, 8, side // 8, channels).mean((2, 4)).reshape(count, -1)


def features(model: Model, given: Labelled) -> np.ndarray:
    """Of each picture what the probe reads, fp32 [N, F]."""

    @jax.jit
    def of(params: Any, pixels_BxSxSxC: jax.Array) -> jax.Array:
        sides = (pixels_BxSxSxC, pixels_BxSxSxC[:, :, ::-1])
        return sum(model.workload.features(params, x, model.run)[-1].mean(1) for x in sides) / 2

    pixels = given.pixels_NxSxSxC
    return np.concatenate([of(model.params, pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)])


def _noisy(asked: Labelled) -> np.ndarray:
    return np.stack([noisy(x, SIGMA, seed) for seed, x in enumerate(restored_ones(asked))])


def restored_ones(asked: Labelled) -> np.ndarray:
    """The pictures that noise is taken from: some of every class."""
    order = np.random.default_rng(0).permutation(len(asked.label_N))[:RESTORED]
    return asked.pixels_NxSxSxC[order]


def _psnr(made: Any, asked: Labelled) -> float:
    """Mean over pictures, of all three colours."""
    pairs = zip(made, restored_ones(asked), strict=True)
    return float(np.mean([psnr(restored, original, Protocol("rgb")) for restored, original in pairs]))


def restore(model: Model, degraded_NxSxSxC: np.ndarray) -> np.ndarray:
    """Noise taken away, 0 to 255."""
    workload, run = model.workload, model.run
    (one,) = (one for one in workload.objectives if isinstance(one, Restoration))
    of = workload.pass_of(one, Variables({}), run)

    @jax.jit
    def restored(params: Any, pixels_BxSxSxC: jax.Array) -> jax.Array:
        stream = trunks.whole(workload.model, centred(pixels_BxSxSxC))
        told_B = jnp.full((len(pixels_BxSxSxC),), SIGMA / STRONG)
        seen = (trunks.features(of.forward, params, stream),)
        return one.restore(params[one.name], Degraded(pixels_BxSxSxC, told_B), seen, of)

    parts = (degraded_NxSxSxC[i : i + BATCH] for i in range(0, len(degraded_NxSxSxC), BATCH))
    return np.clip(np.concatenate([restored(model.params, part) for part in parts]), 0, 255)
