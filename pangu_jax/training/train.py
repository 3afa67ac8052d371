"""`train`: puts a run together from its recipe, and hands it to the loop."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import gin
import jax

from pangu_jax import recipes
from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.parallel.numbers import numbers as numbers_of
from pangu_jax.planner import planner
from pangu_jax.recipes.functions import TRAIN
from pangu_jax.runs import environment, notices, sessions, units
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.run_directory import RunDirectory, write_atomically
from pangu_jax.training import consistency, data_place, loop, step
from pangu_jax.training.loop_config import LoopConfig
from pangu_jax.training.optimizers import Optimizer, adamw, state_bytes
from pangu_jax.training.selection import Selection
from pangu_jax.workloads import RunContext, Variables, Workload
from pangu_jax.workloads.evaluator import Evaluator
from tpu_npu_backends import attached, compilation_cache, gpu_numbers
from tpu_npu_backends import selection as backends
from tpu_npu_backends.selection import Backend

log = logging.getLogger(__name__)


class Trained(NamedTuple):
    """What a run leaves in memory.

    Attributes:
      workload: the model family.
      variables: trained, on the mesh: of a finished run those of the step that counts.
      run: how the loss was carried out.
      summary: step, loss, validation, seconds and the like, for people and JSON.
    """

    workload: Workload
    variables: Variables
    run: RunContext
    summary: dict[str, Any]


recipes.constraint(consistency.layout_divides, of=TRAIN)
recipes.constraint(consistency.schedules_fit_the_run, of=TRAIN, stops=False)


@recipes.plain_errors()
@gin.configurable
def train(
    run_dir: str = gin.REQUIRED,
    workload: Workload = gin.REQUIRED,
    optimizer: Optimizer | None = None,
    layout: Layout | Literal["auto"] | None = None,
    steps: int = gin.REQUIRED,
    batch_size: int = gin.REQUIRED,
    seed: int = 0,
    backend: str = "auto",
    deterministic: bool = False,
    log_every: int = 10,
    validate_every: int = 0,
    evaluators: Sequence[Evaluator] = (),
    selection: Selection | None = None,
    checkpoint_every: int = 1000,
    keep: int = 3,
    watchdog_seconds: float = 300.0,
    watchdog_abort_seconds: float = 3600.0,
    recipe: str = "",
) -> Trained:
    """Train a workload in a run directory; the same call again resumes from the newest sound checkpoint.

    Args:
      run_dir: where everything of the run goes.
      workload: what is trained, such as @LanguageModel().
      optimizer: @adamw() when None.
      layout: how it is spread over devices, @Layout() when None; "auto" asks the planner.
      steps: optimizer steps in all.
      batch_size: examples per step, over all devices.
      seed: of parameters, data order and dropout.
      backend: "auto", "cpu", "cpu:8" (8 virtual devices, of each process), "tpu", "cuda" or "npu".
      deterministic: the same run again gives the same bits, on GPUs too, where by default sums by atomics and
        autotuning differ; other backends do so anyway.
      log_every: steps between lines of metrics.jsonl.
      validate_every: steps between validations; 0 validates at the end only.
      evaluators: measured besides the held-out loss, such as [@KNearestNeighbours()].
      selection: which step is kept as the run's result, and when it ends early, such as @Selection(); the
        last one, and never, when None.
      checkpoint_every: steps between checkpoints; the last step is always saved.
      keep: newest checkpoints kept, at least 1.
      watchdog_seconds: a step longer than this (and than 20 median steps) has its stacks written to run.log.
      watchdog_abort_seconds: a step longer than this (and than 20 median steps; half an hour at least for the
        first, which compiles) ends the process with exit code 2, to be started again; 0 waits for ever.
      recipe: text of the resolved recipe, kept in the run directory and in checkpoints.

    Raises:
      UserError: the layout does not fit, the run directory is taken or unusable, a step's loss,
        gradient or learning rate is not finite.
    """
    _require_positive(
        steps=steps, batch_size=batch_size, log_every=log_every, checkpoint_every=checkpoint_every, keep=keep
    )
    optimizer, layout = optimizer or adamw(), layout or Layout()
    compilation_cache.use()
    chosen = backends.select(backend)
    if layout == "auto":
        layout = _planned(workload, optimizer, batch_size, chosen)
    layout = layout.on(len(chosen.devices))
    if problems := layouts.check(layout, batch_size, workload.dimensions()):
        raise UserError("; ".join(f"{name}: {what}" for name, what in problems))
    mesh = make_mesh(layout, list(chosen.devices))
    numbers = numbers_of(layout, chosen.platform, chosen.capability)
    run = RunContext(OneDevice(chosen.native), layout.remat, numbers.dtype, numbers.kernel)
    source = workload.train_source(batch_size, seed)
    options = dict(chosen.compiler_options)
    if deterministic and chosen.platform == "cuda":
        options |= gpu_numbers.deterministic()
    with (
        _owned(RunDirectory(run_dir)) as directory,
        Checkpoints(directory.checkpoints, keep=keep) as checkpoints,
    ):
        kernels = ", the CPU's own kernels" if chosen.native else ""
        log.info("%s, layout %s, %s%s", chosen.describe(), layout.describe(), numbers.describe(), kernels)
        earlier = sessions.read(directory)
        (state, constants), manifest = _start(directory, checkpoints, workload, optimizer, mesh, seed)
        rows_through = manifest["step"]
        order = data_place.order(workload, seed)
        shift = data_place.examples_read(manifest, batch_size) - rows_through * batch_size
        if shift:  # the source that was made first said what is wrong with the data before all else
            source = workload.train_source(batch_size, seed, shift)
        train_step = step.make_train_step(
            workload,
            optimizer,
            run,
            layout,
            mesh,
            batch_size=batch_size,
            seed=seed,
            constants=constants,
            compiler_options=options,
        )
        if jax.process_index() == 0:
            if rows_through:
                _say_what_changed(directory.previous_recipe() or recipe, recipe)
                data_place.say_what_follows(manifest, order, batch_size)
            directory.write_recipe(recipe)
            for name, content in workload.files().items():
                write_atomically(directory.path / name, content)
            environment.write(directory.environment, chosen, layout)
            notices.write(directory, workload.notices())
            units.record(directory, units.of_trainer(workload.loss_unit, workload.throughput_unit))
            sessions.write(directory, [*earlier, sessions.begun(rows_through, steps)])
        config = LoopConfig(
            workload=workload,
            run=run,
            layout=layout,
            mesh=mesh,
            source=source,
            train_step=train_step,
            constants=constants,
            backend=chosen,
            batch_size=batch_size,
            shift=shift,
            steps=steps,
            log_every=log_every,
            validate_every=validate_every,
            evaluators=evaluators,
            selection=selection,
            checkpoint_every=checkpoint_every,
            watchdog_seconds=watchdog_seconds,
            watchdog_abort_seconds=watchdog_abort_seconds,
            manifest={
                "recipe": recipe,
                "fingerprint": workload.fingerprint(),
                data_place.ORDER: order,
                **workload.manifest(),
            },
        )
        state, summary = loop.run(config, state, rows_through, directory, checkpoints)
        if summary["finished"] and summary.get("best_step", summary["step"]) != summary["step"]:
            target = step.abstract_state(workload, optimizer, mesh)
            stored, _ = checkpoints.restore(target.stored(), summary["best_step"], workload.fingerprint())
            state = step.TrainState(**stored)
    return Trained(workload, Variables(state.params, state.extra, constants), run, summary)


def _planned(workload: Workload, optimizer: Optimizer, batch_size: int, backend: Backend) -> Layout:
    """The planner's first choice for the devices there are."""
    return planner.best_layout(
        workload,
        batch_size,
        attached.topology(backend.devices),
        state_bytes(optimizer, workload),
        Layout().compute_dtype,
    )


@dataclass
class _owned:
    """The run directory, locked by process 0 of all; the others only read its paths."""

    directory: RunDirectory

    def __enter__(self) -> RunDirectory:
        return self.directory.acquire() if jax.process_index() == 0 else self.directory

    def __exit__(self, *exception) -> None:
        self.directory.release()


def _start(directory, checkpoints, workload, optimizer, mesh, seed) -> tuple[step.Start, dict[str, Any]]:
    """What to resume from, and its manifest; that of a fresh start has step 0 and no more."""
    if not checkpoints.exist():
        return step.start(workload, optimizer, mesh, seed), {"step": 0}
    target = step.abstract_start(workload, optimizer, mesh)
    constants = target.constants
    if jax.tree.leaves(constants):
        constants = step.start(workload, optimizer, mesh, seed).constants
    stored, manifest = checkpoints.restore(target.state.stored(), fingerprint=workload.fingerprint())
    log.info("resuming %s from step %d", directory.path, manifest["step"])
    return step.Start(step.TrainState(**stored), constants), manifest


def _say_what_changed(before: str, now: str) -> None:
    """Going on with another recipe is allowed, to train for longer say; doing so unawares is not."""
    if changed := recipes.changes(before, now):
        more = f" and {len(changed) - 8} more" if len(changed) > 8 else ""
        log.warning("the recipe differs from that of the run so far: %s%s", ", ".join(changed[:8]), more)


def _require_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise UserError(f"train.{name} = {value}: it must be at least 1")
