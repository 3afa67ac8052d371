"""The best sub-model under each budget: costs of all, accuracy of some, predictions for the others."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from pangu_jax.apps.vision.extraction import latency, space
from pangu_jax.apps.vision.extraction.budgets import HERE, Budget, amount
from pangu_jax.apps.vision.extraction.measuring import Measurer
from pangu_jax.apps.vision.extraction.predicting import left_out_error, predicted
from pangu_jax.errors import UserError
from pangu_jax.recipes.functions import TRAIN
from pangu_jax.runs import opening
from pangu_jax.runs.inference_layout import ANY, Devices
from pangu_jax.runs.opening import OpenedRun
from pangu_jax.workloads import RunContext, Tree
from pangu_jax.workloads.vision.classifier import PictureClassifier
from pangu_jax.workloads.vision.elastic import cut_classifier, require_means
from pangu_jax.workloads.vision.model import slicing
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.slicing import SubModel

VERIFIED = 3  # sub-models of the highest predictions that are measured under each budget
Say = Callable[[str], None]


class Choice(NamedTuple):
    """What is extracted for a budget.

    Attributes:
      budget: that it meets.
      part: which sub-model.
      costs: "params", "flops", and a latency for each chip that a budget names.
      accuracy: of the slice, in percent of the pictures that chose nothing.
    """

    budget: Budget
    part: SubModel
    costs: dict[str, float]
    accuracy: float


class Chosen(NamedTuple):
    """What was found.

    Attributes:
      choices: one for each budget.
      rows: of every sub-model its costs and accuracy, measured or predicted, as JSON can hold it.
      predictor_error: mean distance of the predictor from what was measured, in points; None where too few
        were.
      pictures: held out, of which every second was chosen by.
      measurer: for what is made of the choices.
    """

    choices: list[Choice]
    rows: list[dict[str, Any]]
    predictor_error: float | None
    pictures: int
    measurer: Measurer


def choose(
    run_dir: str | Path,
    budgets: Sequence[Budget],
    *,
    measured: int = 12,
    batch: int = 1,
    devices: Devices = ANY,
    say: Say = lambda line: None,
) -> Chosen:
    """The sub-model of a run that is best under each budget.

    Args:
      run_dir: a run of a classifier on a HiViT; its recipe's held-out pictures must be there.
      budgets: what a sub-model may cost.
      measured: sub-models whose accuracy is measured; of the others it is predicted.
      batch: pictures of a forward pass whose latency counts.
      devices: where the run is opened.
      say: told what is being done, a line each.

    Raises:
      UserError: the run is no such classifier, or no sub-model meets a budget; the nearest is named.
    """
    opened, classifier, config = _opened(run_dir, devices)
    found = space.space(classifier, config)
    shapes = {part: slicing.cut_config(config, part) for part in found.parts}
    costs = {part: _costs(shape, classifier, budgets, batch) for part, shape in shapes.items()}
    _require_met(costs, [budget for budget in budgets if budget.chip != HERE])
    params = classifier.complete(classifier.evaluated(opened.variables))
    take = jax.jit(partial(_cut, config, classifier.stages), static_argnums=1)
    pictures: Any = opening.with_data(opened)
    batch_size = opened.recipe.arguments(TRAIN)["batch_size"]
    measurer = Measurer(classifier, pictures.data, _context(opened), batch_size)
    if any(budget.chip == HERE for budget in budgets):
        _require_cpu(opened)
        say(f"timing sub-models of {len({part.width for part in found.parts})} widths, batch {batch}")
        # The table times corners of the space too, which need not be of it.
        times = latency.table(
            found.parts,
            lambda part: measurer.call(slicing.cut_config(config, part), take(params, part), batch),
        )
        for part in found.parts:
            costs[part][f"latency@{HERE}"] = times(part)
        _require_met(costs, budgets)
    accuracies: dict[SubModel, tuple[float, float]] = {}

    def measure(part: SubModel) -> None:
        if part not in accuracies:
            accuracies[part] = measurer.accuracy(shapes[part], take(params, part))
            say(f"{part.label}: {accuracies[part][0]:.1f}% of the pictures to choose by")

    for part in _spread(found, costs, measured):
        measure(part)
    begun = {part: first for part, (first, _) in accuracies.items()}
    guessed, error = predicted(begun, found.parts), left_out_error(begun)
    choices = []
    for budget in budgets:
        meeting = [part for part in found.parts if costs[part][budget.cost] <= budget.limit]
        meeting.sort(key=lambda part: -(accuracies[part][0] if part in accuracies else guessed[part]))
        for part in meeting[:VERIFIED]:
            measure(part)
        known = [part for part in meeting if part in accuracies]
        best = max(known, key=lambda part: (accuracies[part][0], -costs[part][budget.cost]))
        choices.append(Choice(budget, best, costs[best], accuracies[best][1]))
    rows = [
        {
            "width": part.width,
            "depths": list(part.depths),
            "learnt": part in found.learnt,
            **{name: round(value, 9) for name, value in costs[part].items()},
            "predicted_accuracy": round(guessed[part], 2),
            "accuracy": round(accuracies[part][1], 2) if part in accuracies else None,
        }
        for part in found.parts
    ]
    return Chosen(choices, rows, error, measurer.pictures, measurer)


def _opened(run_dir: str | Path, devices: Devices) -> tuple[OpenedRun, PictureClassifier, HierarchicalConfig]:
    opened = opening.open_run(run_dir, devices=devices, family="vision", float32=True)
    if not isinstance(opened.workload, PictureClassifier):
        raise UserError(
            f"{run_dir} tells no classes apart: teach it some by `pangu tune --gin_file tuning/elastic.gin`"
        )
    if not isinstance(opened.workload.model, HierarchicalConfig):
        raise UserError(f"{run_dir}: sub-models are cut out of a HiViT, and its trunk is a plain ViT")
    require_means(opened.workload, run_dir)
    return opened, opened.workload, opened.workload.model


def _require_cpu(opened: OpenedRun) -> None:
    """What is measured as a CPU's time must run on one."""
    if (platform := opened.spread.backend.devices[0].platform) != "cpu":
        raise UserError(
            f"latency@{HERE} is measured, and the run was opened on {platform}: add --backend cpu"
        )


def _context(opened: OpenedRun) -> RunContext:
    run = opened.spread.run
    return RunContext(run.placement, dtype=run.dtype, kernel=run.kernel)


def _cut(config: HierarchicalConfig, stages: int, params: Tree, part: SubModel) -> Tree:
    return cut_classifier(config, params, part, stages)


def _costs(
    shape: HierarchicalConfig, classifier: PictureClassifier, budgets: Sequence[Budget], batch: int
) -> dict[str, float]:
    """All but what is measured."""
    found = {
        "params": float(space.parameters(shape, len(classifier.classes), classifier.stages)),
        "flops": shape.flops(shape.units),
    }
    chips = {budget.chip for budget in budgets} - {"", HERE}
    return found | {f"latency@{chip}": space.chip_seconds(shape, chip, batch) for chip in sorted(chips)}


def _require_met(costs: dict[SubModel, dict[str, float]], budgets: Sequence[Budget]) -> None:
    for budget in budgets:
        nearest = min(costs, key=lambda part: costs[part][budget.cost])
        if costs[nearest][budget.cost] > budget.limit:
            raise UserError(
                f"--budget {budget.text!r}: no sub-model meets it: the nearest is {nearest.label} with "
                f"{amount(budget.cost, costs[nearest][budget.cost])}"
            )


def _spread(found: space.Space, costs: dict[SubModel, dict[str, float]], count: int) -> list[SubModel]:
    """Those that have learnt as such, then others evenly by their FLOPs; `count` in all."""
    first = [part for part in found.parts if part in found.learnt][:count]
    others = sorted(set(found.parts) - set(first), key=lambda part: (costs[part]["flops"], part))
    room = min(count - len(first), len(others))
    return first + [others[round(at * (len(others) - 1) / max(1, room - 1))] for at in range(room)]
