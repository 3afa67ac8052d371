"""Names: a class name means one thing, wherever it is met."""

import ast
from collections import defaultdict

from tests.checks import ROOT


def test_a_public_class_name_is_of_one_class():
    places = defaultdict(list)
    for package in ("pangu_jax", "data_pipelines", "tpu_npu_backends"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(file.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(str(file.relative_to(ROOT)))
    assert len(places) > 300
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
