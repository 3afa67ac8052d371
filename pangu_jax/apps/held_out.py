"""A finished run, measured as it was in training: its held-out loss and the evaluators of its recipe."""

from collections.abc import Callable

import jax

from pangu_jax import recipes
from pangu_jax.evaluation.evaluators import Evaluation, HeldOutLoss
from pangu_jax.parallel import rules
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.recipes.functions import TRAIN
from pangu_jax.runs import opening
from pangu_jax.runs.checkpoint_structure import require_same_fingerprint
from pangu_jax.runs.opening import OpenedRun
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.evaluator import MeasuredValue


def evaluate(run: OpenedRun, on_batch: Callable[[], None] = lambda: None) -> dict[str, MeasuredValue]:
    """Metrics by name, in the order of their evaluators; {} where the run holds nothing out.

    The run's recipe says what is held out, so its data must be there.

    Args:
      run: opened with parameters in fp32, as training has them.
      on_batch: called after each batch.

    Raises:
      UserError, DataError: the recipe's data is not there or no longer what was trained on, in its vocabulary
        or classes, or its batch does not divide over the devices.
    """
    arguments = run.recipe.arguments(TRAIN)
    workload = opening.with_data(run)
    with recipes.plain_errors():
        evaluators = recipes.make(run.recipe, arguments.get("evaluators", ()))
    step_directory = run.directory.checkpoints / str(run.manifest["step"])
    require_same_fingerprint(step_directory, run.manifest.get("fingerprint", {}), workload.fingerprint())
    spread, mesh = run.spread, run.spread.mesh
    if mesh is None:
        mesh = make_mesh(Layout(data=1), [spread.backend.devices[0]])
    shardings = rules.storage_shardings(mesh, workload.logical_axes())
    variables = workload.evaluated(jax.device_put(run.variables, shardings))
    context = RunContext(spread.run.placement, dtype=spread.run.dtype, kernel=spread.run.kernel)
    found: dict[str, MeasuredValue] = {}
    for evaluator in (HeldOutLoss(workload), *evaluators):
        evaluation = Evaluation(evaluator, workload, context, mesh, arguments["batch_size"])
        found |= evaluation(variables, on_batch)
    return found
