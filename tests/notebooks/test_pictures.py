"""The notebook of vision runs from its first cell to its last, by a tiny trunk and for few steps."""

from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SMALLER = {
    "train.batch_size": 8,
    "train.log_every": 1,
    "images.validation_pictures": 16,
    "LinearProbe.labelled": 40,
    "KNearestNeighbours.labelled": 40,
    "HierarchicalTransformer.d_model": 16,
    "HierarchicalTransformer.depths": "(1,1,1)",
    "HierarchicalTransformer.heads": 2,
    "NeighbourContrast.hidden": 16,
    "NeighbourContrast.queue": 32,
    "MaskedPixels.width": 16,
    "MaskedPixels.layers": 1,
    "Restoration.width": 8,
    "Restoration.blocks": 1,
}


@pytest.fixture
def notebook():
    import nbformat

    return nbformat.read(NOTEBOOKS / "pictures.ipynb", as_version=4)


@pytest.mark.prove  # compiling a joint loss for its tasks takes a minute
def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    bindings = SMALLER | {"images.cache_dir": tmp_path / "cache"}
    monkeypatch.setenv("PANGU_NOTEBOOK_BINDINGS", " ".join(f"{k}={v}" for k, v in bindings.items()))
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # one device, as a user has it
    monkeypatch.setenv("PANGU_NOTEBOOK_STEPS", "2")
    monkeypatch.setenv("PANGU_NOTEBOOK_RUN_DIR", str(tmp_path / "run"))
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = "".join(output.get("text", "") for output in outputs)
    pictures = [output for output in outputs if "image/png" in output.get("data", ())]
    assert "step 2 of 2" in shown and "probe/random_weights" in shown
    assert len(pictures) == 3


def test_the_notebook_is_kept_without_outputs(notebook):
    assert not any(cell.get("outputs") for cell in notebook.cells)
