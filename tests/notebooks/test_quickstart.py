"""The notebook runs from its first cell to its last, on little text and for few steps."""

import re
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CLAUSES = (
    "今天天气很好",
    "我们去公园散步",
    "孩子们在湖边放风筝",
    "老人坐在树下谈天",
    "晚上大家一起吃饭",
    "商店里人很多",
)


@pytest.fixture
def notebook():
    import nbformat

    return nbformat.read(NOTEBOOKS / "quickstart.ipynb", as_version=4)


@pytest.fixture
def little_text(tmp_path):
    """Forty documents in which sentences come in different orders."""
    folder = tmp_path / "text"
    folder.mkdir()
    for i in range(40):
        order = [CLAUSES[(i + j * (i % 5 + 1)) % len(CLAUSES)] for j in range(12)]
        (folder / f"{i}.txt").write_text("，".join(order) + f"。第{i}篇。\n", "utf-8")
    return folder


def test_the_notebook_runs(notebook, little_text, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    bindings = {
        "corpus.path": little_text,
        "corpus.cache_dir": tmp_path / "cache",
        "corpus.vocabulary_size": 512,
        "corpus.encoder_length": 32,
        "corpus.decoder_length": 32,
        "corpus.validation_fraction": 0.2,
        "EncoderDecoder.vocab_size": 512,
        "EncoderDecoder.d_model": 32,
        "EncoderDecoder.d_ff": 64,
        "EncoderDecoder.encoder_layers": 1,
        "EncoderDecoder.decoder_layers": 1,
    }
    monkeypatch.setenv("PANGU_NOTEBOOK_BINDINGS", " ".join(f"{k}={v}" for k, v in bindings.items()))
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # one device, as a user has it
    monkeypatch.setenv("PANGU_NOTEBOOK_STEPS", "4")
    monkeypatch.setenv("PANGU_NOTEBOOK_RUN_DIR", str(tmp_path / "run"))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = "".join(output.get("text", "") for output in outputs)
    kinds = {kind for output in outputs for kind in output.get("data", ())}
    assert re.search(
        r"^step 4 of 4, .*, held-out loss \d.*^step 6 of 6, .*, held-out loss \d",
        shown,
        re.DOTALL | re.MULTILINE,
    )
    assert {"image/png", "text/html"} <= kinds
    assert "Resumed after step" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_the_notebook_is_kept_without_outputs(notebook):
    assert not any(cell.get("outputs") for cell in notebook.cells)
