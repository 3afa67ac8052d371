"""docs/adding_a_workload.md: its code is examples/digits.py, and its recipe trains."""

import re
from pathlib import Path

import pytest

from pangu_jax import train

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding_a_workload.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_blocks_of_the_page_are_the_example_from_its_first_line_to_its_last():
    code = (ROOT / "examples" / "digits.py").read_text("utf-8")
    place = 0
    for block in blocks("python"):
        assert code[place:].lstrip("\n").startswith(block), block.splitlines()[0]
        place = code.index(block, place) + len(block)
    assert not code[place:].strip()


def test_the_recipe_of_the_page_is_the_examples():
    assert (ROOT / "examples" / "digits.gin").read_text("utf-8") in blocks("")


def test_the_example_learns(tmp_path):
    found = train.run([str(ROOT / "examples" / "digits.gin")], [], tmp_path)
    assert found["finished"] and found["validation_accuracy"] > 0.85
    assert "nats per example" in found["text"]


@pytest.mark.parametrize("layout", [["Layout.fsdp=8"], ["Layout.model=4", "Layout.microbatches=2"]])
def test_the_example_is_the_same_on_eight_devices(tmp_path, layout):
    one, eight = (
        train.run([str(ROOT / "examples" / "digits.gin")], ["train.steps=5", *bindings], tmp_path / name)
        for name, bindings in (("one", []), ("eight", ["train.backend=cpu:8", *layout]))
    )
    assert eight["loss"] == pytest.approx(one["loss"], rel=1e-5)
