"""The recipe by which a sub-model is tuned: that of its run, with another workload and a short schedule."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pangu_jax import recipes
from pangu_jax.recipes.functions import TRAIN
from pangu_jax.workloads.vision.model.slicing import SubModel

MODULES = "import pangu_jax.apps.vision.tuning\nimport pangu_jax.training.optimizers\n"
MODULES += "import pangu_jax.training.schedules\nimport pangu_jax.workloads.vision\n"
SOFT, TEMPERATURE = 0.5, 2.0  # the whole goes on teaching its part


def resolved(run_dir: str | Path, part: SubModel, steps: int, learning_rate: float, backend: str = "") -> str:
    """A resolved recipe of `train`.

    Args:
      run_dir: of the whole: its pictures, views, batch and seed are kept.
      part: which sub-model.
      steps: for which it is tuned.
      learning_rate: the peak; a tenth of the steps lead up to it.
      backend: as of `train`; the run's own where "".
    """
    own = Path(run_dir, "recipe.gin")
    recipe = recipes.load([own], function=TRAIN)
    workload = recipe.arguments(TRAIN)["workload"]
    kept = recipe.arguments(workload)
    bound = {
        "train.workload": "@DistilledClassifier()",
        "train.optimizer": "@adamw()",
        "train.steps": steps,
        "train.validate_every": 0,
        "train.checkpoint_every": steps,
        "train.evaluators": [],
        "train.selection": None,
        "DistilledClassifier.base": "@PartOfRun()",
        "DistilledClassifier.data": repr(kept["data"]),
        "DistilledClassifier.teacher": "@TeacherOfRun()",
        "DistilledClassifier.temperature": TEMPERATURE,
        "DistilledClassifier.soft": SOFT,
        "DistilledClassifier.features": 0.0,
        "DistilledClassifier.learns": "@AllWeights()",
        "DistilledClassifier.stages": kept.get("stages", 1),
        "DistilledClassifier.label_smoothing": kept.get("label_smoothing", 0.0),
        "PartOfRun.run_dir": repr(str(Path(run_dir).resolve())),
        "PartOfRun.width": part.width,
        "PartOfRun.depths": part.depths,
        "TeacherOfRun.run_dir": repr(str(Path(run_dir).resolve())),
        "adamw.schedule": "@cosine_schedule()",
        "cosine_schedule.steps": steps,
        "cosine_schedule.learning_rate": learning_rate,
        "cosine_schedule.warmup": steps // 10,
        **({"train.backend": repr(backend)} if backend else {}),
    }
    with TemporaryDirectory() as folder:
        modules = Path(folder, "modules.gin")
        modules.write_text(MODULES)
        bindings = [f"{name}={value}" for name, value in bound.items()]
        return recipes.dump(recipes.load([own, modules], bindings, function=TRAIN))
