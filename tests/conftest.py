"""Eight virtual CPU devices for every test, set before JAX is imported; and the table of `make prove`."""

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import gin
import pytest
from hypothesis import settings

os.environ["JAX_PLATFORMS"] = "cpu"
# Most of a test's time is compiling programs that run for milliseconds: LLVM optimises nothing here, loops
# are emitted the plain way (the newer emitters go through MLIR and take half as long again), a program is one
# module for LLVM, and what one test or child process has compiled, the next one reads.
XLA_FLAGS = (
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
)
# XLA ends a process over a flag that it does not know, and from jaxlib 0.11 on it does not know this one.
PLAIN_LOOPS = "--xla_cpu_use_fusion_emitters=false"
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    XLA_FLAGS += (PLAIN_LOOPS,)
os.environ["XLA_FLAGS"] = " ".join((os.environ.get("XLA_FLAGS", ""), *XLA_FLAGS)).strip()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

# A busy machine is no failure; and CI tries the same examples every time, so that it tells of the change.
settings.register_profile("house", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("house")

Proof = Callable[[str, object], None]


@pytest.fixture
def proof(request: pytest.FixtureRequest) -> Proof:
    """Records a figure for the table: `proof("largest difference of a loss", 3e-7)`."""

    def record(what: str, figure: object) -> None:
        request.node.user_properties.append((what, f"{figure:.4g}" if isinstance(figure, float) else figure))

    return record


@pytest.fixture(autouse=True)
def nothing_stays_bound():
    """A recipe's bindings outlive its run, and would change what other tests make in Python."""
    yield
    gin.clear_config()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After the proofs, what each measured and whether it held."""
    held = {"passed": "held", "failed": "FAILED", "error": "FAILED", "skipped": "not run here"}
    rows = [
        (report.nodeid.split("::")[-1], held[outcome], f"{report.duration:.0f} s", report.user_properties)
        for outcome in held
        for report in terminalreporter.stats.get(outcome, [])
        # A file that is skipped at its import has a report of another kind, without keywords.
        if isinstance(report, pytest.TestReport)
        and "prove" in report.keywords
        and (report.when == "call" or outcome != "passed")
    ]
    if not rows:
        return
    terminalreporter.section("what held")
    width = max(len(name) for name, *_ in rows)
    for name, outcome, seconds, figures in rows:
        terminalreporter.line(f"{name:<{width}}  {outcome:<12}  {seconds:>6}")
        for what, figure in figures:
            terminalreporter.line(f"{'':<{width}}  {what}: {figure}")
