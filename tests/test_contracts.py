"""The house rules that a program can check: who imports whom, lint and format."""

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.checks import CHECKS, ROOT, run


@pytest.mark.parametrize("name", CHECKS)
def test_house_rule(name):
    ran = run(name)
    assert ran.returncode == 0, ran.stdout


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
