"""The bar on a terminal, lines elsewhere."""

import logging

from pangu_jax.training.progress import Progress


def test_log_lines_when_there_is_no_terminal(caplog):
    caplog.set_level(logging.INFO, "pangu_jax")
    with Progress(steps=100, start_step=40, every_seconds=3600, terminal=False) as progress:
        progress.update(41, {"loss": 3.14159, "tokens_per_second": 1234.5, "mfu": 0.721})
        assert not caplog.messages
        progress._every_seconds = 0
        progress.update(70)
    assert caplog.messages[0].startswith("step 70 of 100, loss 3.1416, 1,234 tokens/s, MFU 72.1%, 0:00:0")
    assert len(caplog.messages) == 2


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "150")
    with Progress(steps=10, terminal=True) as progress:
        progress.update(10, {"loss": 0.5})
    shown = capsys.readouterr().err
    assert "10/10" in shown and "loss 0.5000" in shown
