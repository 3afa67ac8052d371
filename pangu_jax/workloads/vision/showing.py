"""What a vision run shows: held-out pictures beside what the model made of them."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.workloads import Batch, RunContext, Source, Variables
from pangu_jax.workloads.exhibits import Exhibit, Image
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.masked import MaskedPixels
from pangu_jax.workloads.vision.model.pixels import centred, to_bytes
from pangu_jax.workloads.vision.model.restoring import Restoration
from pangu_jax.workloads.vision.side_by_side import SideBySide

SHOWN = 8  # pictures of a report
WORSE = {"denoise": "noisy", "deblock": "as a JPEG"}  # the others are enlarged
COMPARED = 64  # pictures of a batch for the baseline


def exhibits(
    workload: SideBySide, sources: Mapping[str, Source], variables: Variables, run: RunContext
) -> Sequence[Exhibit]:
    """A sheet for each objective that makes pictures, of the sources' first batch of `SHOWN`."""
    if not sources or jax.process_count() > 1:
        return ()
    (source,) = sources.values()
    batch = source.batch(0)
    shown: list[Exhibit] = []
    for one in workload.objectives:
        if isinstance(one, MaskedPixels):
            shown.append(painted(workload, one, variables, batch, run))
        if isinstance(one, Restoration):
            shown += [restored(workload, one, task, variables, batch, run) for task in one.tasks]
    return shown


def painted(
    workload: SideBySide, one: MaskedPixels, variables: Variables, batch: Batch, run: RunContext
) -> Image:
    """Pictures as they are, as they were seen, and painted."""

    @jax.jit
    def rows(variables: Variables, batch: Batch) -> list[jax.Array]:
        begun = workload.begin(one, workload.pictures(batch, None), 0)
        seen = tuple(trunks.features(workload.forward(run), variables.params, s) for s in begun.streams)
        made = one.paint(variables.params[one.name], begun, seen, workload.pass_of(one, variables, run))
        unseen = made._replace(painted_BxUxV=jnp.zeros_like(made.painted_BxUxV))
        plain = dataclasses.replace(one, normalised=False)
        model = workload.model
        return [
            centred(batch["image"][:, -1]),
            plain.reconstructed(model, unseen, begun),
            one.reconstructed(model, made, begun),
        ]

    colours = "; painted units have the true mean and variance" if one.normalised else ""
    return sheet(f"held out: as they are, as seen, painted{colours}", rows(variables, batch), batch)


def restored(
    workload: SideBySide, one: Restoration, task: str, variables: Variables, batch: Batch, run: RunContext
) -> Image:
    """Pictures as they are, made worse, and restored."""
    number = one.tasks.index(task)

    @jax.jit
    def rows(variables: Variables, batch: Batch) -> list[jax.Array]:
        begun = workload.begin(one, workload.pictures(batch, None), number)
        seen = tuple(trunks.features(workload.forward(run), variables.params, s) for s in begun.streams)
        of = workload.pass_of(one, variables, run._replace(phase=number))
        made = one.restore(variables.params[one.name], begun.kept, seen, of)
        return [batch["image"][:, -1].astype(jnp.float32), begun.kept.pixels_BxSxSxC, made]

    original, worse, made = rows(variables, batch)
    counts = np.asarray(batch["weight"]) > 0
    before, after = (_mean_psnr(pixels, original, counts) for pixels in (worse, made))
    what = WORSE.get(task, "bicubic")
    title = (
        f"held out, {task}: as they are, {what} ({before:.1f} dB), restored ({after:.1f} dB, all channels)"
    )
    return sheet(title, [centred(pixels) for pixels in (original, worse, made)], batch)


def _mean_psnr(pixels: jax.Array, original: jax.Array, counts: np.ndarray) -> float:
    squared_B = np.mean((np.asarray(pixels) - np.asarray(original)) ** 2, axis=(1, 2, 3))[counts]
    return float(np.mean(10 * np.log10(255.0**2 / np.maximum(squared_B, 1e-6))))


def sheet(title: str, rows: Sequence[jax.Array], batch: Batch) -> Image:
    """Rows of `centred` pictures under each other."""
    shown = int(batch["weight"].sum())
    lines = [np.concatenate(list(to_bytes(np.asarray(row[:shown]))), axis=1) for row in rows]
    return Image(title, np.concatenate(lines, axis=0))


def baselines(workload: SideBySide, sources: Mapping[str, Source]) -> dict[str, dict[str, float]]:
    """Held-out task -> loss of painting in the mean colour; {} for a joint loss and for others."""
    if len(workload.objectives) != 1 or not isinstance(one := workload.objectives[0], MaskedPixels):
        return {}

    @jax.jit
    def of(batch: Batch) -> tuple[jax.Array, jax.Array]:
        begun = workload.begin(one, workload.pictures(batch, None), 0)
        loss_B = one.mean_painted(workload.model, begun).loss_B
        return jnp.sum(loss_B * batch["weight"]), jnp.sum(batch["weight"])

    found = {}
    for source in sources.values():
        sums = [of(source.batch(step)) for step in range(len(source))]
        total, count = (float(sum(part)) for part in zip(*sums, strict=True))
        found[one.name] = {"mean colour": total / count}
    return found
