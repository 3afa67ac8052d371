"""The notebook of the simulated atmosphere runs from first cell to last, by a tiny network and for few
steps.
"""

from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SMALLER = {
    "train.log_every": 1,
    "fields.validation_windows": 2,
    "EarthTransformer.dims": "(8,16)",
    "EarthTransformer.heads": "(2,2)",
}


@pytest.fixture
def notebook():
    import nbformat

    return nbformat.read(NOTEBOOKS / "weather.ipynb", as_version=4)


@pytest.mark.prove
def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    bindings = SMALLER | {"fields.cache_dir": tmp_path / "cache"}
    monkeypatch.setenv("PANGU_NOTEBOOK_BINDINGS", " ".join(f"{k}={v}" for k, v in bindings.items()))
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # one device, as a user has it
    monkeypatch.setenv("PANGU_NOTEBOOK_STEPS", "2")
    monkeypatch.setenv("PANGU_NOTEBOOK_RUN_DIR", str(tmp_path / "run"))
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = "".join(output.get("text", "") for output in outputs)
    pictures = [output for output in outputs if "image/png" in output.get("data", ())]
    assert "step 2 of 2" in shown and "8 forecasts of 5 days" in shown
    assert len(pictures) == 2


def test_the_notebook_is_kept_without_outputs(notebook):
    assert not any(cell.get("outputs") for cell in notebook.cells)
