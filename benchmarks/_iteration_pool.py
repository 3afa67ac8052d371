"""The pool that `benchmarks.one_bit` and `benchmarks.increments` share: features of one trunk, made once."""

from pathlib import Path

from data_pipelines.images.augment import Flip, RandomCrop
from data_pipelines.images.images import Images, images
from pangu_jax.apps.vision.iteration import pool_features
from pangu_jax.apps.vision.iteration.pool import Pool, of_images
from pangu_jax.apps.vision.iteration.pool_features import PoolFeatures
from pangu_jax.runs import opening

PICTURES = 20_000  # of the 50,000 to train on, the same for every seed
VIEWS = 2  # augmented, beside the plain one


def of_set(folder: Path) -> Images:
    """The pictures as trunks of vision/small.gin see them.

    Args:
      folder: with train.parquet and val.parquet of Tiny-ImageNet, 100 classes at 32 pixels.
    """
    augment = [RandomCrop(32, 4), Flip()]
    return images(path=str(folder), views=VIEWS, augment=augment, validation_pictures=None)


def pool_of(data: Images, share: float, draw: int) -> Pool:
    """The pool with a start set of its own."""
    return of_images(data, share, draw, PICTURES)


def features_of(run_dir: Path, pool: Pool, folder: Path) -> PoolFeatures:
    """Kept in `folder` from one seed to the next."""
    folder.mkdir(parents=True, exist_ok=True)
    run = opening.open_run(run_dir, family="vision", float32=True)
    return pool_features.of_run(run, pool, folder, lambda line: print(line, flush=True))


def model_flops(run_dir: Path) -> float:
    """Of a forward pass of a picture by the trunk."""
    with opening.find(run_dir) as found:
        model = opening.describe(found, "vision").workload.model
    return model.flops(model.units)


def pretraining_flops(run_dir: Path) -> float:
    """Of all steps that made the trunk, as its recipe counts them."""
    with opening.find(run_dir) as found:
        described = opening.describe(found, "vision")
        batch = described.recipe.value("train.batch_size")
        return found.step * described.workload.flops_per_step(batch)
