"""The benchmark tasks as data: examples of the published files, and patterns that make text-to-text of them.

A task is a TOML file in definitions/: its labels, how its files are read, and its patterns.

    task = benchmarks.get("fewclue/eprstmt")
    for example in task.examples("test_clean", "/data"):
        query = task.patterns["close"].render(example)
"""

from data_pipelines.text.benchmarks.definition import get, names
from data_pipelines.text.benchmarks.patterns import Pattern, Rendered
from data_pipelines.text.benchmarks.task import BenchmarkTask, Example

__all__ = ["BenchmarkTask", "Example", "Pattern", "Rendered", "get", "names"]
