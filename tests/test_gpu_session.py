"""The session on a card, on CPU: its lines as they come, parts that fail, and its table."""

import json
import subprocess
import sys

import pytest

from benchmarks import gpu_session
from benchmarks._gpu_session_table import table
from benchmarks.gpu_session import Part


def lines(folder):
    return [json.loads(line) for line in (folder / "session.jsonl").read_text("utf-8").splitlines()]


def test_a_part_that_fails_or_takes_too_long_leaves_a_line_and_the_next_begins(tmp_path, monkeypatch, capsys):
    parts = {
        "slow": Part("_gpu_session_machine", 0, "is ended"),
        "broken": Part("_gpu_session_machine", 60, "is no part in its own process"),
        "environment": gpu_session.PARTS["environment"],
    }
    monkeypatch.setattr(gpu_session, "PARTS", parts)
    gpu_session.main(["--out", str(tmp_path), "--backend", "cpu", "--parts", ",".join(parts)])
    slow, broken, environment, device, end = lines(tmp_path)
    assert (slow["part"], slow["ended"]) == ("slow", "not finished within 0 s, and ended")
    assert (broken["part"], broken["ended"]) == ("broken", "status 1: KeyError: 'broken'")
    assert environment["versions"]["jax"] and environment["size"] == "tiny"
    assert device["device"] == "1 x cpu"
    assert (end["part"], end["ended"]) == ("environment", "done")
    assert "| broken | | status 1: KeyError: 'broken', " in capsys.readouterr().out
    assert "== broken\n" in (tmp_path / "session.log").read_text("utf-8")


def test_what_has_no_time_left_is_not_begun(tmp_path):
    gpu_session.main(["--out", str(tmp_path), "--backend", "cpu", "--seconds", "1", "--parts", "peak,2b6"])
    assert [line["ended"] for line in lines(tmp_path)] == ["not begun: no time was left"] * 2


def test_a_part_that_is_none(capsys):
    with pytest.raises(SystemExit) as ended:
        gpu_session.main(["--parts", "base,bases"])
    assert ended.value.code == 2
    assert "no part bases: there are environment, peak, parity, base" in capsys.readouterr().err


def test_a_table_of_lines():
    rows = [
        {"part": "small", "who": "ours", "step_s": 0.01234567, "bytes": 3 * 2**30, "mfu": None, "ok": True},
        {"part": "small", "error": "a | b\nc"},
        {"part": "small", "ended": "done", "seconds": 3.2},
    ]
    assert table(rows).splitlines()[2:] == [
        "| small | ours | step_s 0.01235, bytes 3 GiB, mfu unknown, ok yes |",
        "| small | a / b c |  |",
        "| small | | done, 3 s |",
    ]


@pytest.mark.prove
def test_all_parts_cut_short(tmp_path):
    gpu_session.main(["--out", str(tmp_path), "--backend", "cpu", "--seconds", "3000"])
    found = lines(tmp_path)
    assert {line["part"]: line["ended"] for line in found if "ended" in line} == dict.fromkeys(
        gpu_session.PARTS, "done"
    )
    (same,) = [line for line in found if line.get("way") == "float32, as a run has it"]
    assert same["gradients_off"] < 1e-6
    (fused,) = [line for line in found if line.get("way") == "bfloat16, fused"]
    assert "it has no kernel" in fused["error"]
    assert all(line["equal"] for line in found if "equal" in line)


def test_it_imports_no_more_than_a_step_needs():
    script = (
        "import sys; from benchmarks import _gpu_session_decoding, _gpu_session_numbers, _our_step; "
        "from pangu_jax.apps.language.decoding import generator; "
        "workload, _, layout = _our_step.described('nlp/2b6.gin', ['Layout.fsdp=1']); "
        "assert workload.train_source(1, 0).batch(0)['encoder_input_tokens'].shape == (1, 512); "
        "heavy = {'array_record', 'grain', 'polars', 'seqio', 'sentencepiece', 'tensorflow', 'torch'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
