"""The house rules that a program can check: who imports whom, lint and format."""

import functools
import graphlib
import importlib.util
import re
import tomllib

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pangu_jax
from tests.checks import CHECKS, ROOT, run
from tests.quick import QUICK


@pytest.mark.parametrize("name", CHECKS)
def test_house_rule(name):
    ran = run(name)
    assert ran.returncode == 0, ran.stdout


def test_the_quick_tests_are_there():
    assert [name for name in QUICK if not (ROOT / "tests" / name).exists()] == []


def test_one_version_everywhere():
    """The code says it; the newest section of the changelog and the citation say it with the same date."""
    heading, date = re.search(
        r"^## (\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    ).groups()
    citation = (ROOT / "CITATION.cff").read_text()
    assert heading == pangu_jax.__version__
    assert f'version: {heading}\ndate-released: "{date}"\n' in citation


@pytest.mark.parametrize(
    ("locks", "extras"),
    [
        (["requirements.txt"], ["corpus", "test"]),
        (["requirements.txt", "requirements-docs.txt"], ["docs"]),
    ],
)
def test_the_lock_satisfies_every_requirement(locks, extras):
    """A lock is installed without resolving: what pyproject.toml asks for must be in it, and once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for lock in locks for line in (ROOT / lock).read_text().splitlines()]
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    pinned = {canonicalize_name(name): version for name, version in pins}
    assert len(pinned) == len(pins)
    asked = [text for extra in extras for text in project["optional-dependencies"][extra]]
    for text in project["dependencies"] + asked:
        requirement = Requirement(text)
        if requirement.name == project["name"]:  # another extra of this project
            continue
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier


@functools.cache
def imports() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports, wherever in it; but for its own package's face."""
    graph = grimp.build_graph("pangu_jax", "data_pipelines", "tpu_npu_backends")
    return {
        module: {
            other for other in graph.find_modules_directly_imported_by(module) if not within(module, other)
        }
        for module in graph.modules
    }


def within(module: str, package: str) -> bool:
    return module.startswith(f"{package}.")


def test_contracts_see_every_folder_and_every_name():
    """Neither is an error of import-linter (findings/import_linter_skips_folders_without_init.sh)."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    for package in contracts["root_packages"]:
        for path in (ROOT / package).rglob("*.py"):
            assert path.with_name("__init__.py").exists(), path
    outside = {name for contract in contracts["contracts"] for name in contract.get("forbidden_modules", [])}
    for name in outside:
        if name.split(".")[0] not in contracts["root_packages"]:
            assert importlib.util.find_spec(name), name


def test_no_files_import_each_other_in_a_circle():
    """Sideways at least: what a package shows of itself in its __init__ its files may name again."""
    graphlib.TopologicalSorter(imports()).prepare()  # CycleError, with the files in their order


def test_the_library_has_nine_floors_at_most():
    """The longest way down through packages of pangu_jax, each importing the next."""
    packages: dict[str, set[str]] = {}
    for module, others in imports().items():
        names = [name.split(".")[1] for name in (module, *others) if within(name, "pangu_jax")]
        if within(module, "pangu_jax"):
            packages.setdefault(names[0], set()).update(set(names[1:]) - {names[0]})
    height: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(packages).static_order():
        height[name] = 1 + max((height[below] for below in packages[name]), default=0)
    assert max(height.values()) <= 9, height
