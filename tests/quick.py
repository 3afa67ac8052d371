"""`python -m tests.quick [ARGUMENT...]`: the tests one runs while working, a minute of `make test`.

Arguments are pytest's. Standard output names the tests that failed, no more.
"""

import contextlib
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SHOWN = 10  # names of failed tests, at most

# Whole files and folders, chosen by what they cost: together about a CPU-minute. `make test` has the others,
# which compile for long, start processes or build corpora.
QUICK = (
    "test_cli.py",
    "test_contracts.py",
    "test_launch.py",
    "recipes",
    "data/test_benchmarks.py",
    "data/test_benchmarks_published.py",
    "data/test_denoising.py",
    "data/test_folder.py",
    "data/test_vocabulary.py",
    "corpus/test_cleaning.py",
    "corpus/test_cleaning_edits.py",
    "corpus/test_cleaning_filters.py",
    "corpus/test_cleaning_privacy.py",
    "corpus/test_extraction.py",
    "models",
    "parallel/test_layout.py",
    "parallel/test_rules.py",
    "parallel/test_schedules.py",
    "planner/test_cost.py",
    "planner/test_device_groups.py",
    "planner/test_estimate.py",
    "planner/test_planner.py",
    "workloads/test_adding_a_workload.py",  # one family trained, on one device and on eight
    "runs",
    "evaluation",
    "training/test_consistency.py",
    "training/test_progress.py",
    "training/test_stop_agreement.py",
    "apps/language/benchmarks/test_metrics.py",
    "apps/language/benchmarks/test_submissions.py",
    "apps/language/chat",
    "apps/language/conversion/test_bad_input.py",
    "apps/language/conversion/test_config.py",
    "apps/language/retrieval",
    "verbs/test_generate.py",
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
    more = [f"{len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
    print(*failed[:SHOWN], *more, sep=", ")
    return 2 if status else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
