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


def test_the_lock_satisfies_every_requirement():
    """requirements.txt is installed without resolving: what pyproject.toml asks for must be in it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    extras = project["optional-dependencies"]
    for text in project["dependencies"] + extras["corpus"] + extras["test"]:
        requirement = Requirement(text)
        if requirement.name == project["name"]:  # another extra of this project
            continue
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier
