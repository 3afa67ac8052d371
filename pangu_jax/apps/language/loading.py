"""Opening what a run left, whatever it did: the model, ready to be used."""

from pathlib import Path

from pangu_jax.apps.language import loaded
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.runs import opening
from pangu_jax.runs.inference_layout import ANY, Devices
from pangu_jax.runs.opening import Found


def load(
    run_dir: str | Path,
    step: int | None = None,
    devices: Devices = ANY,
    *,
    float32: bool = False,
    writes: bool = False,
) -> LoadedModel:
    """The model of a run directory: one that was trained here, imported, or tuned.

    Args:
      run_dir: the run.
      step: the checkpoint; the newest sound one when None.
      devices: where; see `inference_layout.Devices`.
      float32: keep parameters in fp32 to continue training them; else matrices have the dtype of products.
      writes: it is to write texts, for which its weights are in memory in two forms for a time.

    Raises:
      UserError, DataError, BackendError: there is no such run, checkpoint or device, it is no language model,
        its vocabulary is missing or another, the layout does not fit, or its weights fit no memory here.
    """
    with opening.find(run_dir, step, devices) as found:
        return load_found(found, float32=float32, writes=writes)


def load_found(found: Found, *, float32: bool = False, writes: bool = False) -> LoadedModel:
    """As `load`, of a run that was found."""
    if "tuning" in found.manifest:
        from pangu_jax.apps.language.tuning import stored

        return stored.load(found, load, float32=float32)
    return loaded.untuned(found, float32=float32, writes=writes)
