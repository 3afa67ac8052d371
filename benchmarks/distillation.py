"""Distillation: a student of a tenth of its teacher's parameters, nine tenths of the pictures without labels.

A fifth of CIFAR-10's training pictures are there. The teacher, a HiViT of half a million parameters, has
learnt all their labels. Who trains the student has its answers, the pictures, and labels of a tenth of them.
Beside it the same student without a teacher, on the same labels: for as many steps, for as much CPU time as
teacher and student took together, and with smoothed labels. Seeds are of weights, order, views and of the
draw of pictures and labels; rows of a seed are paired.

    python -m benchmarks.distillation                      # what is in docs/results/vision_distillation.json
    python -m benchmarks.distillation --train --seeds 5    # what is there already is not made again
"""

import statistics
from pathlib import Path
from typing import Any

from benchmarks._rows import ROOT, Row, Rows, by_seeds, spread

RESULTS = ROOT / "docs" / "results" / "vision_distillation.json"
TEACHER, STUDENT = (96, (1, 1, 4)), (32, (1, 1, 3))
SETTINGS = {
    "teacher": TEACHER, "student": STUDENT, "teacher_steps": 1000, "student_steps": 1200,
    "there": 0.2, "share": 0.02, "rate": 6e-3, "temperature": 3.0, "soft": 0.9, "smoothing": 0.1,
    "asked": 4000,
}  # fmt: skip
DISTILLED, STEPS, COMPUTE, SMOOTHED = "distilled", "equal steps", "equal compute", "label-smoothed"


def main(arguments: list[str] | None = None) -> None:
    """Prints the table; with --train makes what is missing of it first."""
    by_seeds(arguments, __doc__, RESULTS, SETTINGS, ("arm", "seed"), _one_seed, table)


def _one_seed(rows: Rows, settings: Row, seed: int, pictures: Path) -> None:
    """All arms of a seed. The teacher is trained again where any arm that needs it is missing."""
    wanted = (DISTILLED, STEPS, SMOOTHED, COMPUTE)
    if all(rows.get(arm=arm, seed=seed) for arm in ("teacher", *wanted)):
        return
    from benchmarks._classifier_arms import Arms, config
    from pangu_jax.workloads.vision import DistilledClassifier, FewLabelled, FreshTrunk, PictureClassifier
    from pangu_jax.workloads.vision.distilled import TeacherInMemory

    arms, large, small = (
        Arms(pictures, settings["asked"]),
        config(*settings["teacher"]),
        config(*settings["student"]),
    )
    there, share, steps = (settings[name] for name in ("there", "share", "student_steps"))
    few, labelled, known = (
        FewLabelled(arms.images, told, seed, kept)
        for told, kept in ((share, there), (share, share), (there, there))
    )

    def trained(workload: Any, steps: int, keep: list | None = None) -> Row:
        done = arms.train(workload, steps, seed, settings["rate"])
        if keep is not None:
            keep.append(done.variables)
        parameters = sum(x.size for x in _leaves(done.params))
        return {
            "accuracy": arms.accuracy(workload, workload.model, done.params),
            "steps": steps,
            "cpu_seconds": round(done.seconds, 1),
            "compiling": round(done.compiling, 1),
            "parameters": parameters,
        }

    def alone(smoothing: float = 0.0) -> PictureClassifier:
        return PictureClassifier(FreshTrunk(small, seed), labelled, label_smoothing=smoothing)

    rows.keep(lambda: trained(alone(), steps), arm=STEPS, seed=seed)
    rows.keep(lambda: trained(alone(settings["smoothing"]), steps), arm=SMOOTHED, seed=seed)
    kept: list[Any] = []
    teacher = PictureClassifier(FreshTrunk(large, seed), known)
    if not rows.get(arm=DISTILLED, seed=seed):
        made = trained(teacher, settings["teacher_steps"], kept)
        rows.keep(lambda: made, arm="teacher", seed=seed)
        student = DistilledClassifier(
            FreshTrunk(small, seed),
            few,
            TeacherInMemory(teacher, kept[0]),
            settings["temperature"],
            settings["soft"],
        )
        rows.keep(lambda: trained(student, steps), arm=DISTILLED, seed=seed)
    spent = sum(rows.get(arm=arm, seed=seed)["cpu_seconds"] for arm in ("teacher", DISTILLED))
    own = rows.get(arm=STEPS, seed=seed)["cpu_seconds"] / steps
    rows.keep(lambda: trained(alone(), round(spent / own)), arm=COMPUTE, seed=seed)


def _leaves(tree: Any) -> list[Any]:
    import jax

    return jax.tree.leaves(tree)


def table(rows: list[Row]) -> str:
    """In Markdown: means, and what the distilled student has over each control, paired by seed."""
    lines = ["| arm | parameters | steps | CPU s | right, % | distilled minus it |", "| --- " * 6 + "|"]
    distilled = {row["seed"]: row["accuracy"] for row in rows if row["arm"] == DISTILLED}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        means = [statistics.fmean(row[name] for row in own) for name in ("steps", "cpu_seconds")]
        cells = [arm, f"{own[0]['parameters']:,}", f"{means[0]:.0f}", f"{means[1]:.0f}"]
        cells.append(spread([row["accuracy"] for row in own]))
        pairs = [distilled[row["seed"]] - row["accuracy"] for row in own if row["seed"] in distilled]
        lines.append(f"| {' | '.join([*cells, '' if arm == DISTILLED else spread(pairs, signed=True)])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
