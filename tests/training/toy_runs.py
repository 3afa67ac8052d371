"""Runs of digits from Python, and what they leave."""

import gin

from pangu_jax.runs import metrics
from pangu_jax.training.train import Trained, train


def trained(run_dir, workload, optimizer=None, steps=20, validate_every=0) -> Trained:
    """`train` from Python; nothing of another test's recipe is bound."""
    gin.clear_config()
    settings = {"batch_size": 32, "backend": "cpu", "log_every": 1, "checkpoint_every": 6}
    settings |= {"steps": steps, "validate_every": validate_every}
    return train(run_dir, workload, optimizer, **settings)


def losses(run_dir) -> dict[int, float]:
    """Step -> loss; fails where a step was written twice."""
    rows = [(row["step"], row["loss"]) for row in metrics.read(run_dir / "metrics.jsonl") if "loss" in row]
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def validations(run_dir) -> list[float]:
    rows = metrics.read(run_dir / "metrics.jsonl")
    return [row["validation_loss"] for row in rows if "validation_loss" in row]
