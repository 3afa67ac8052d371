"""The notebook of pictures and captions runs from first cell to last, by a tiny model and for few steps."""

from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SMALLER = {
    "train.batch_size": 16,
    "train.log_every": 1,
    "VisionTransformer.d_model": 32,
    "VisionTransformer.layers": 1,
    "EncoderDecoder.d_model": 32,
    "EncoderDecoder.encoder_layers": 1,
    "EncoderDecoder.decoder_layers": 1,
}


@pytest.fixture
def notebook():
    import nbformat

    return nbformat.read(NOTEBOOKS / "pairs.ipynb", as_version=4)


@pytest.mark.prove
def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("PANGU_NOTEBOOK_BINDINGS", " ".join(f"{k}={v}" for k, v in SMALLER.items()))
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # one device, as a user has it
    monkeypatch.setenv("PANGU_NOTEBOOK_STEPS", "3")
    monkeypatch.setenv("PANGU_NOTEBOOK_RUN_DIR", str(tmp_path / "run"))
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = "".join(output.get("text", "") for output in outputs)
    pictures = [output for output in outputs if "image/png" in output.get("data", ())]
    assert "step 3 of 3" in shown and "recall_at_1" in shown
    assert len(pictures) == 3


def test_the_notebook_is_kept_without_outputs(notebook):
    assert not any(cell.get("outputs") for cell in notebook.cells)
