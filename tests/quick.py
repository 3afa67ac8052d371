"""`python -m tests.quick [ARGUMENT...]`: the tests one runs while working, a minute of `make test`.

Arguments are pytest's. Standard output names the tests that failed, no more.
"""

import contextlib
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# Whole files and folders, chosen by what they cost: `make test` has the others, which compile for long,
# start processes or build corpora.
QUICK = (
    "recipes",
    "test_cli.py",
    "test_contracts.py",
)


class Failures:
    """Ids of what failed, each once: tests, and files that could not be collected."""

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.ids[report.nodeid] = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.ids[report.nodeid] = None


def main(arguments: list[str]) -> int:
    failures = Failures()
    paths = [str(TESTS / name) for name in QUICK]
    with contextlib.redirect_stdout(sys.stderr):
        status = pytest.main(["-m", "not prove", *arguments, *paths], plugins=[failures])
    failed = list(failures.ids)
    if status and not failed:
        failed = [f"pytest, which ended with status {int(status)}"]
    print(*failed, sep=", ")
    return 2 if status else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
