"""Recipes written on the spot, for the small program of toy.py."""

from collections.abc import Callable
from pathlib import Path

import gin
import pytest

from pangu_jax import recipes

FUNCTION = "tests.recipes.toy.fit"
COMPLETE = "import tests.recipes.toy\nfit.workload = @Pipeline()\n"


@pytest.fixture(autouse=True)
def no_constraints(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer's own rules are about its recipes; only the golden tests are about those."""
    if "test_golden" not in request.module.__name__:
        monkeypatch.setattr("pangu_jax.recipes.checking._constraints", [])


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., recipes.Recipe]:
    """`load(text, *bindings)`: a complete recipe with `text` after it, in tmp_path/recipe.gin."""

    def write_and_load(text: str, *bindings: str, complete: bool = True) -> recipes.Recipe:
        file = tmp_path / "recipe.gin"
        file.write_text(COMPLETE * complete + text, encoding="utf-8")
        return recipes.load([file], bindings, function=FUNCTION)

    yield write_and_load
    gin.clear_config()


@pytest.fixture
def findings(load: Callable[..., recipes.Recipe], tmp_path: Path) -> Callable[..., list[str]]:
    """`findings(text, *bindings)`: what check says, the folder left out of the places."""

    def check(text: str, *bindings: str, complete: bool = True) -> list[str]:
        found = recipes.check(load(text, *bindings, complete=complete))
        return [str(finding).replace(f"{tmp_path}/", "") for finding in found]

    return check
