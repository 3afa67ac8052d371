"""The recipes that come with the library: no mistakes, a whole header, and what they resolve to on file."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pangu_jax import recipes
from tests.recipes.update import GOLDEN, resolve

ROOT = Path(__file__).parents[2]
VERBS = {
    "corpus": "pangu corpus build",
    "eval": "pangu eval",
    "sweeps": "pangu sweep",
    "tuning": "pangu tune",
    "vision/increments.gin": "pangu iterate",
    "vision/iterate.gin": "pangu iterate",
}


def test_the_recipe_folder_does_not_shadow_the_module_gin():
    assert not list((ROOT / "gin").rglob("*.py"))


def test_golden_files_and_recipes_are_the_same_set():
    golden = sorted(path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*.gin"))
    assert golden == recipes.available(), "run python -m tests.recipes.update"


@pytest.mark.parametrize("name", recipes.available())
def test_resolves_to_its_golden_file(name):
    assert resolve(name) == (GOLDEN / name).read_text(encoding="utf-8"), "run python -m tests.recipes.update"


@pytest.mark.parametrize("name", recipes.available())
def test_check_finds_nothing(name):
    assert recipes.check(recipes.load([name])) == []


@pytest.mark.parametrize("name", recipes.available())
def test_header_says_what_one_must_know_before_starting(name):
    text = recipes.find(name).read_text(encoding="utf-8")
    header = text[: text.find("\n\n")].lower()
    assert all(line.startswith("#") for line in header.splitlines())
    verb = VERBS.get(name) or VERBS.get(name.split("/")[0], "pangu train")
    for word in ("hardware", "time", "result", verb, f"gin/{name}"):
        assert word in header, f"the header must say: {word}"


@pytest.mark.prove
def test_a_wheel_holds_the_recipes_and_finds_them_by_name(tmp_path, proof):
    """In an ordinary file tree away from the checkout, as pip would install it."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); from pangu_jax import recipes; "
    code += "print(*map(recipes.find, recipes.available()), sep='\\n')"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = [Path(line).relative_to(tmp_path / "site") for line in ran.stdout.split()]
    assert [path.as_posix() for path in found] == [
        f"pangu_jax/_recipes/{name}" for name in recipes.available()
    ]
    assert found
    proof("recipes in the wheel", len(found))
    kernels = Path("tpu_npu_backends/cpu_kernels")  # which who installs it builds
    of_kernels = {path.name for path in (tmp_path / "site" / kernels).glob("*.*")}
    assert {path.name for path in (ROOT / kernels).glob("*.*") if path.suffix in (".cc", ".h")} <= of_kernels
    typed = {path.parent.name for path in (tmp_path / "site").glob("*/py.typed")}
    assert typed == {"pangu_jax", "data_pipelines", "tpu_npu_backends"}
