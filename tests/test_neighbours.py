"""Functions of libraries that do what a good guess misses are used where docs/neighbours.md says, with a test
there, and nowhere else."""

import ast
import re

import pytest

from tests.checks import ROOT

PACKAGES = ("pangu_jax", "data_pipelines", "tpu_npu_backends")
# By name: the files that may use it.
USERS = {
    "BestN": (),
    "best_fn": (),
    "partial_restore": ("pangu_jax/runs/checkpoints.py",),
    "ArrayRecordReader": ("data_pipelines/array_records.py",),
    "ArrayRecordDataSource": ("data_pipelines/array_records.py",),
    "worker_count": (),
    "mp_prefetch": (),
    "bernoulli": (
        "pangu_jax/apps/language/tuning/modes.py",
        "pangu_jax/apps/vision/iteration/mean_teacher.py",
        "pangu_jax/workloads/language/model/blocks.py",
        "pangu_jax/workloads/science/model/earth_blocks.py",
    ),
    "optax.adafactor": (),
    "optax.contrib": ("pangu_jax/training/muon_steps.py",),
    "adaptive_grad_clip": (),
    "clip_by_block_rms": (),
    "scale_by_param_block_rms": (),
    "cost_analysis": (),
    "jax.export": tuple(
        f"pangu_jax/apps/vision/exporting/{name}.py" for name in ("exporting", "formats", "runtimes")
    ),
    "symbolic_shape": ("pangu_jax/apps/vision/exporting/exporting.py",),
    "jax2onnx": (),
    "rouge_chinese": (),
    "corpus_bleu": (),
    "get_topology_desc": ("tpu_npu_backends/gpu.py", "tpu_npu_backends/topologies.py"),
}


def names(tree: ast.AST):
    """What a file names: `a`, `a.b`, `f(a=...)`, `import a.b`, `from a import b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
            if isinstance(node.value, ast.Name):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.keyword):
            yield node.arg
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            for alias in node.names:
                yield from (alias.name, f"{module}.{alias.name}", module)


def test_what_surprises_is_used_where_it_is_guarded():
    word = re.compile("|".join(re.escape(name.rpartition(".")[2]) for name in USERS))
    found = {name: set() for name in USERS}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if word.search(text := path.read_text("utf-8")):
                for name in found.keys() & set(names(ast.parse(text))):
                    found[name].add(str(path.relative_to(ROOT)))
    assert {name: sorted(files) for name, files in found.items()} == {n: sorted(f) for n, f in USERS.items()}


@pytest.mark.parametrize("name", USERS)
def test_the_page_names_it(name):
    assert name.rpartition(".")[2] in (ROOT / "docs" / "neighbours.md").read_text("utf-8")


def test_the_tests_that_the_page_names_are_there():
    page = (ROOT / "docs" / "neighbours.md").read_text("utf-8")
    files = set(re.findall(r"tests/[\w/]+\.py", page))
    assert len(files) > 8 and [file for file in sorted(files) if not (ROOT / file).is_file()] == []
