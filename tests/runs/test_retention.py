"""Which checkpoints stay: the newest, whatever was measured, and the best, by any sequence of metrics."""

import math
from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pangu_jax.errors import UserError
from pangu_jax.runs import checkpoint_files
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.orbax_setup import retention
from pangu_jax.training.selection import Best, Selection
from pangu_jax.training.train import train

MEASURED = st.one_of(
    st.sampled_from([0.9, 0.2, 0.95, 0.1, 0.2, math.nan, math.inf, -math.inf, None, 0, 1e30]), st.floats()
)


def rank(value: float | None, mode: str) -> float:
    """By another way than Selection's: what is no number comes behind every number."""
    if value is None or not math.isfinite(value):
        return math.inf
    return value if mode == "min" else -value


@given(st.lists(st.tuples(MEASURED, st.booleans()), min_size=1, max_size=12), st.integers(1, 3), st.data())
def test_the_newest_and_the_best_stay_whatever_is_measured(rows, keep, data):
    """As the loop does it: a step that is measured best is saved and named once it is whole, at the next."""
    mode = data.draw(st.sampled_from(["min", "max"]))
    best, named = Best(Selection("m", mode)), set()
    policy = retention(keep, None, named)
    saved: list[int] = []
    kept: list[int] = []
    unnamed = 0
    for step, (value, due) in enumerate(rows, start=1):
        better = best.see(step, {"m": value})
        ranks = [rank(value, mode) for value, _ in rows[:step]]
        assert best.step == 1 + ranks.index(min(ranks))
        if not (due or better):
            continue
        named.clear()
        named.add(unnamed)
        there = [SimpleNamespace(step=one) for one in [*kept, step]]
        decided = policy.should_preserve(cast(Any, there), context=cast(Any, None))
        kept = [info.step for info, stays in zip(there, decided, strict=True) if stays]
        saved.append(step)
        assert {best.step, *saved[-keep:]} <= set(kept) <= {unnamed, best.step, *saved[-keep:]}
        unnamed = best.step
    shown = [{"step": step, "m": value} for step, (value, _) in enumerate(rows, start=1)]
    resumed = Best(Selection("m", mode), shown[: len(shown) // 2])
    for row in shown[len(shown) // 2 :]:
        resumed.see(row["step"], row)
    assert resumed.step == best.step


def test_the_newest_survives_on_disk_where_it_is_not_the_best(tmp_path):
    """Orbax's own best_fn with max_to_keep=2 keeps steps 4 and 3 of these, and loses the .9 to the NaN."""
    best = Best(Selection("m", "max"))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        for step, value in enumerate([0.9, math.nan, 0.2, 0.1], start=1):
            best.see(step, {"m": value})
            checkpoints.keep_also(best.step)
            checkpoints.save(step, {"x": jnp.float32(step)}, {})
        checkpoints.wait()
        assert checkpoint_files.committed_steps(tmp_path) == [1, 4]
        state, _ = checkpoints.restore({"x": jax.ShapeDtypeStruct((), jnp.float32)}, step=1)
        assert (state["x"], checkpoints.latest()) == (1, 4)


@pytest.mark.parametrize("keep", [0, -1])
def test_a_run_that_would_keep_no_checkpoint_is_refused(keep, tmp_path):
    with pytest.raises(UserError, match=rf"^train\.keep = {keep}: it must be at least 1$"):
        train(
            workload=cast(Any, None),
            run_dir=str(tmp_path / "run"),
            backend="cpu",
            batch_size=1,
            steps=1,
            keep=keep,
        )
