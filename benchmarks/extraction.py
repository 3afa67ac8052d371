"""Extraction: four sizes of a HiViT from one elastic training, beside training each of them alone.

On a fifth of CIFAR-10's training pictures, where a size is limited by what it can make of them and not by
how long it has been trained. Each smaller size is cut out of the elastic run, tuned for a quarter of its
steps more, and compared with the same size from scratch for as many steps in all. The whole is compared as
it leaves the elastic run. Naive slices of the whole trained alone stand beside. CPU time is of all steps
that give the four sizes; compiling is told apart. Seeds are of weights, order, views and the draw of
pictures; rows of a seed are paired.

    python -m benchmarks.extraction                      # what is in docs/results/vision_extraction.json
    python -m benchmarks.extraction --train --seeds 5    # what is there already is not made again
"""

import statistics
from pathlib import Path
from typing import Any

from benchmarks._rows import ROOT, Row, Rows, by_seeds, spread

RESULTS = ROOT / "docs" / "results" / "vision_extraction.json"
SETTINGS = {
    "sizes": [[96, [1, 1, 4]], [80, [1, 1, 4]], [64, [1, 1, 4]], [48, [1, 1, 3]]],
    "steps": 960, "more": 240, "alone": 240, "every": 6, "weight": 0.6, "labels": 0.5, "temperature": 1.0,
    "there": 0.2, "rate": 6e-3, "rate_more": 6e-3, "soft": 0.8, "soft_temperature": 4.0, "asked": 4000,
}  # fmt: skip
SCRATCH, NAIVE, SLICE, TUNED, ELASTIC, LATENCY = (
    "from scratch", "naive slice", "slice", "slice, tuned", "elastic", "latency",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Prints the table; with --train makes what is missing of it first."""
    by_seeds(arguments, __doc__, RESULTS, SETTINGS, ("arm", "size", "seed"), _one_seed, table)


def _one_seed(rows: Rows, settings: Row, seed: int, pictures: Path) -> None:
    _Seed(rows, settings, seed, pictures).make()


class _Seed:
    """All arms of a seed; a training is repeated where a row that hangs on it is missing."""

    def __init__(self, rows: Rows, settings: Row, seed: int, pictures: Path):
        self._rows, self._settings, self._seed, self._pictures = rows, settings, seed, pictures
        self._sizes = [(width, tuple(depths)) for width, depths in settings["sizes"]]

    def make(self) -> None:
        from pangu_jax.workloads.vision.model.slicing import SubModel

        self._parts = [SubModel(*size) for size in self._sizes]
        labels = [part.label for part in self._parts]
        wanted = [(SCRATCH, size) for size in labels] + [(NAIVE, size) for size in labels[1:]]
        wanted += [(ELASTIC, "all"), (SLICE, labels[0]), (LATENCY, "all")]
        wanted += [(arm, size) for arm in (SLICE, TUNED) for size in labels[1:]]
        if all(self._rows.get(arm=arm, size=size, seed=self._seed) for arm, size in wanted):
            return
        from benchmarks._classifier_arms import Arms, config
        from pangu_jax.workloads.vision import FewLabelled

        self._arms = Arms(self._pictures, self._settings["asked"])
        there = self._settings["there"]
        self._images = FewLabelled(self._arms.images, there, self._seed, there)
        self._configs = [config(*size) for size in self._sizes]
        self._elastic(labels)
        self._scratch(labels)

    def _keep(self, arm: str, size: str, make: Any) -> Row:
        return self._rows.keep(make, arm=arm, size=size, seed=self._seed)

    def _missing(self, arm: str, size: str) -> bool:
        return self._rows.get(arm=arm, size=size, seed=self._seed) is None

    def _elastic(self, labels: list[str]) -> None:
        from pangu_jax.workloads.vision import DistilledClassifier, ElasticClassifier, FreshTrunk
        from pangu_jax.workloads.vision.bases import TrunkInMemory
        from pangu_jax.workloads.vision.distilled import TeacherInMemory
        from pangu_jax.workloads.vision.elastic import cut_classifier

        of = [(arm, size) for arm in (SLICE, TUNED) for size in labels[1:]]
        if not any(self._missing(*one) for one in [*of, (ELASTIC, "all"), (SLICE, labels[0])]):
            return
        settings, arms, whole = self._settings, self._arms, self._configs[0]
        workload = ElasticClassifier(
            FreshTrunk(whole, self._seed),
            self._images,
            sizes=tuple(self._sizes[1:]),
            **{name: settings[name] for name in ("every", "alone", "weight", "labels", "temperature")},
        )
        done = arms.train(workload, settings["steps"], self._seed, settings["rate"])
        self._keep(ELASTIC, "all", lambda: _spent(done, settings["steps"]))
        self._keep(SLICE, labels[0], lambda: {"accuracy": arms.accuracy(workload, whole, done.params)})
        teacher = TeacherInMemory(workload, done.variables)
        for size, shape, part in list(zip(labels, self._configs, self._parts, strict=True))[1:]:
            cut = cut_classifier(whole, done.params, part, 1)
            self._keep(
                SLICE, size, lambda shape=shape, cut=cut: {"accuracy": arms.accuracy(workload, shape, cut)}
            )
            if self._missing(TUNED, size):
                student = DistilledClassifier(
                    TrunkInMemory(shape, cut, workload.classes),
                    self._images,
                    teacher,
                    settings["soft_temperature"],
                    settings["soft"],
                )
                more = settings["more"], self._seed + 1000, settings["rate_more"]  # another order of pictures
                tuned = arms.train(student, *more)
                row = _spent(tuned, settings["more"])
                row["accuracy"] = arms.accuracy(student, shape, tuned.params)
                self._keep(TUNED, size, lambda row=row: row)

    def _scratch(self, labels: list[str]) -> None:
        from pangu_jax.workloads.vision import FreshTrunk, PictureClassifier
        from pangu_jax.workloads.vision.elastic import cut_classifier

        settings, arms = self._settings, self._arms
        steps = settings["steps"] + settings["more"]
        for place, (size, shape) in enumerate(zip(labels, self._configs, strict=True)):
            sliced = labels[1:] if not place else []
            wanted = [(SCRATCH, size), *((NAIVE, other) for other in sliced)]
            wanted += [] if place else [(LATENCY, "all")]
            if not any(self._missing(*one) for one in wanted):
                continue
            workload = PictureClassifier(FreshTrunk(shape, self._seed), self._images)
            done = arms.train(workload, steps, self._seed, settings["rate"])
            row = _spent(done, steps)
            row["parameters"] = _count(done.params)
            row["accuracy"] = arms.accuracy(workload, shape, done.params)
            self._keep(SCRATCH, size, lambda row=row: row)
            for other, config_, part in list(zip(labels, self._configs, self._parts, strict=True))[1:]:
                if other in sliced:
                    cut = cut_classifier(shape, done.params, part, 1)
                    accuracy = arms.accuracy(workload, config_, cut)
                    self._keep(NAIVE, other, lambda accuracy=accuracy: {"accuracy": accuracy})
            if not place and self._missing(LATENCY, "all"):
                self._keep(LATENCY, "all", lambda done=done, workload=workload: self._latency(workload, done))

    def _latency(self, workload: Any, done: Any) -> Row:
        """The table of the sub-models' widths and all depths of the main stage; what it says beside what is
        measured, of depths that were not timed for it."""
        from pangu_jax.apps.vision.extraction import latency
        from pangu_jax.workloads.vision.elastic import cut_classifier
        from pangu_jax.workloads.vision.model import slicing
        from pangu_jax.workloads.vision.model.slicing import SubModel

        whole, measurer = self._configs[0], self._arms.measurer(workload)
        first, second, main = whole.depths
        depths = [(first, second, layers) for layers in range(1, main + 1)]
        parts = [SubModel(part.width, d) for part in self._parts for d in depths]

        def call(part: Any) -> Any:
            cut = cut_classifier(whole, done.params, part, 1)
            return measurer.call(slicing.cut_config(whole, part), cut, 1)

        table_ = latency.table(parts, call)
        chosen = [part for part in parts if part not in table_.timed]
        measured = latency.timed([call(part) for part in chosen])
        pairs = {part.label: [table_(part), seconds] for part, seconds in zip(chosen, measured, strict=True)}
        worst = max(abs(a / b - 1) for a, b in pairs.values())
        return {"seconds": pairs, "worst": round(worst, 4)}


def _spent(done: Any, steps: int) -> Row:
    return {"steps": steps, "cpu_seconds": round(done.seconds, 1), "compiling": round(done.compiling, 1)}


def _count(params: Any) -> int:
    import jax

    return sum(x.size for x in jax.tree.leaves(params))


def table(rows: list[Row]) -> str:
    """In Markdown: each size by every arm, and what the four cost together."""
    sizes = list(dict.fromkeys(row["size"] for row in rows if row["size"] != "all"))
    lines = [f"| right, % | {' | '.join((SCRATCH, NAIVE, SLICE, TUNED))} | tuned or whole minus scratch |"]
    lines.append("| --- " * 6 + "|")
    for size in sizes:
        by_arm = {
            arm: {row["seed"]: row["accuracy"] for row in rows if (row["arm"], row["size"]) == (arm, size)}
            for arm in (SCRATCH, NAIVE, SLICE, TUNED)
        }
        ours = by_arm[TUNED] or by_arm[SLICE]
        pairs = [ours[seed] - other for seed, other in by_arm[SCRATCH].items() if seed in ours]
        cells = [spread(list(values.values())) for values in by_arm.values()]
        lines.append(f"| {' | '.join([size, *cells, spread(pairs, signed=True)])} |")
    spent = {
        arm: statistics.fmean(totals)
        for arm in (SCRATCH, ELASTIC, TUNED)
        if (totals := _totals(rows, arm, len(sizes)))
    }
    if len(spent) == 3:
        both = spent[ELASTIC] + spent[TUNED]
        lines += [
            "",
            f"CPU seconds: the four alone {spent[SCRATCH]:.0f}, elastic {spent[ELASTIC]:.0f} and tuning "
            f"{spent[TUNED]:.0f}: {both / spent[SCRATCH]:.2f} of it",
        ]
    timed = [row["worst"] for row in rows if row["arm"] == LATENCY]
    if timed:
        lines += ["", f"latency by the table against measured: {100 * max(timed):.1f}% apart at most"]
    return "\n".join(lines)


def _totals(rows: list[Row], arm: str, sizes: int) -> list[float]:
    """CPU seconds of an arm by seed, where all its rows are there."""
    wanted = {SCRATCH: sizes, ELASTIC: 1, TUNED: sizes - 1}[arm]
    by_seed: dict[int, list[float]] = {}
    for row in rows:
        if row["arm"] == arm:
            by_seed.setdefault(row["seed"], []).append(row["cpu_seconds"])
    return [sum(values) for values in by_seed.values() if len(values) == wanted]


if __name__ == "__main__":
    main()
