"""What `benchmarks.few_labels` measures of the finished runs of one seed, by the parts of `pangu eval`.

Features are chosen beforehand: means over units of the last three stages, which is what `pangu eval` and the
evaluators in training look at. Beside them all units of the main stage side by side, which say where in a
picture something is. The same two stand under the head that is fine-tuned. Test pictures decide nothing.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from benchmarks._few_labels_results import DRAWS, Measured, Row, key
from data_pipelines.images import draws as drawing
from data_pipelines.images.augment import Flip, RandomCrop
from data_pipelines.images.images import images
from pangu_jax.apps.vision.measuring import few_labels
from pangu_jax.apps.vision.measuring.few_labels import Answered, Arm
from pangu_jax.apps.vision.measuring.fine_tuning import FewLabelFit, FineTuner
from pangu_jax.apps.vision.measuring.seen import SeenPictures, Viewer, raw
from pangu_jax.apps.vision.restoration_quality import RESTORED, measure_restoration
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.runs import opening
from pangu_jax.runs.opening import OpenedRun
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision.bases import FreshTrunk, TrunkInMemory
from pangu_jax.workloads.vision.model.restoring import Restoration
from pangu_jax.workloads.vision.pooled import Pooling

SHARES, FINE_TUNED = (0.01, 0.1), 0.01
SIGMA, DENOISED = 25.0, 1000  # of 255, and pictures
FRESH = 1000  # the first seed of weights that have learnt nothing


class Seen(NamedTuple):
    """What of a trunk is looked at.

    Attributes:
      stages: the last ones.
      pooling: over units.
      fit: of all weights under a head on the main stage, pooled alike.
    """

    stages: int
    pooling: Pooling
    fit: FewLabelFit


FEATURES = {
    "means": Seen(3, "mean", FewLabelFit()),
    "units": Seen(1, "none", FewLabelFit(pooling="none")),
}


def measure(
    runs: Mapping[str, Path], set_dir: Path, kept: Path, seed: int, say: Callable[[str], None]
) -> Measured:
    """All arms of a seed, raw pixels, random weights and from scratch; read from `kept` where it is done.

    Args:
      runs: directories by arm; "joint" among them.
      set_dir: the pictures, train and test.
      kept: a folder for what is found, and for the test pictures that noise is taken from.
      seed: of the pre-training, for the rows.
      say: told of each row.
    """
    done = kept / "measured.json"
    if not done.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        found = _Scoring(runs, set_dir, kept, seed, say).all()
        np.savez_compressed(kept / "right.npz", **found.right)  # pyrefly: ignore
        done.write_text(json.dumps({"rows": found.rows, "parameters": found.parameters}))
    found = json.loads(done.read_text())
    with np.load(kept / "right.npz") as right:
        return Measured([Row(*row) for row in found["rows"]], dict(right), found["parameters"])


class _Scoring:
    def __init__(
        self, runs: Mapping[str, Path], set_dir: Path, kept: Path, seed: int, say: Callable[[str], None]
    ):
        views = [RandomCrop(32, 4), Flip()]
        self._set = images(path=str(set_dir), augment=views, validation_pictures=None)
        self._known, self._asked = self._set.pictures.places(False), self._set.measured
        self._runs, self._kept, self._seed, self._say = runs, kept, seed, say
        self._found = Measured([], {}, {})
        self._joint = self._opened(runs["joint"])
        spread = self._joint.spread
        self._mesh = spread.mesh or make_mesh(Layout(data=1), [spread.backend.devices[0]])
        self._run = RunContext(spread.run.placement, dtype=spread.run.dtype, kernel=spread.run.kernel)

    def all(self) -> Measured:
        """Every arm and control."""
        self._by_features("raw pixels 8x8", "raw", partial(raw, self._set), None)
        for arm, run_dir in self._runs.items():
            self._arm(arm, self._opened(run_dir))
        workload: Any = self._joint.workload
        model = workload.model
        fresh = model.init(jax.random.key(FRESH + self._seed))
        for name in FEATURES:
            self._by_features("random weights", name, self._view(model, name, fresh), None)
        self._all_weights(model, TrunkInMemory(model, self._params(self._joint)))
        return self._found

    def _opened(self, run_dir: Path) -> OpenedRun:
        return opening.open_run(run_dir, family="vision", float32=True)

    def _params(self, run: OpenedRun) -> Any:
        workload: Any = run.workload
        return workload.complete(workload.evaluated(run.variables))

    def _arm(self, arm: str, run: OpenedRun) -> None:
        workload: Any = run.workload
        params, psnr = self._params(run), None
        learnt = jax.tree.leaves(workload.evaluated(run.variables).params)
        self._found.parameters[arm] = sum(leaf.size for leaf in learnt)
        if any(isinstance(one, Restoration) for one in workload.objectives):
            for row in measure_restoration(run, self._test_pictures(), "denoise", SIGMA):
                psnr = row["psnr"] if row["method"] == RESTORED else psnr
                name = arm if row["method"] == RESTORED else row["method"]
                self._keep(Row(name, "denoised", "", 0, 0, self._seed, None, row["psnr"]))
        for name in FEATURES:
            self._by_features(arm, name, self._view(workload.model, name, params), psnr)

    def _test_pictures(self) -> Path:
        """A folder of those that noise is taken from."""
        folder = self._kept / "test"
        folder.mkdir(parents=True, exist_ok=True)
        for place in self._asked[:DENOISED]:
            Image.fromarray(self._set.pictures.pixels(int(place))).save(folder / f"{place}.png")
        return folder

    def _view(self, model: Any, name: str, params: Any) -> Callable[[np.ndarray], SeenPictures]:
        seen = FEATURES[name]
        viewer = Viewer(model, self._run, self._mesh, seen.stages, seen.pooling)
        return partial(viewer, params, self._set)

    def _by_features(
        self, arm: str, features: str, view: Callable[[np.ndarray], SeenPictures], psnr: float | None
    ) -> None:
        seen, classes = Arm.of(view(self._known), view(self._asked)), len(self._set.classes)
        for one in few_labels.by_features({arm: seen}, classes, SHARES, DRAWS):
            if one.method == arm:
                self._answer(one, features, psnr)

    def _all_weights(self, model: Any, joint: TrunkInMemory) -> None:
        label_N = self._set.pictures.label_N
        for name, seen in FEATURES.items():
            tune, train = (
                FineTuner(self._set, model, self._run, self._mesh, seen.fit, decay) for decay in (None, 1.0)
            )
            for draw in range(DRAWS):
                labelled = drawing.drawn(label_N, self._known, FINE_TUNED, draw)
                fresh = FreshTrunk(model, FRESH + self._seed * DRAWS + draw)
                for arm, tuner, base in (("joint", tune, joint), ("from scratch", train, fresh)):
                    probability_MxC = tuner(base, labelled, self._asked, seed=draw)
                    how = "fine-tuned", FINE_TUNED, arm, draw, len(labelled)
                    self._answer(few_labels.answered(*how, probability_MxC, label_N[self._asked]), name, None)

    def _answer(self, one: Answered, features: str, psnr: float | None) -> None:
        accuracy = round(100 * float(one.right_M.mean()), 2)
        row = Row(one.method, one.how, features, one.labels, one.draw, self._seed, accuracy, psnr)
        self._found.right[key(*row[:5])] = one.right_M
        self._keep(row)

    def _keep(self, row: Row) -> None:
        self._found.rows.append(row)
        self._say(" ".join(map(str, row)))
