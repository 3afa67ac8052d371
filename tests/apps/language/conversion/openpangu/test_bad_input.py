"""Folders that are no published model, or not whole: one line, and nothing is left behind."""

import json

import numpy as np
import pytest

from pangu_jax import cli
from pangu_jax.runs import room
from tests.apps.language.conversion.openpangu import folders


def damaged(folder):
    (folder / "model-00002-of-00002.safetensors").write_bytes(
        (folder / "model-00002-of-00002.safetensors").read_bytes()[:-4] + b"\0\0\0\1"
    )


def changed(**entries):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        config = {name: value for name, value in (config | entries).items() if value is not None}
        (folder / "config.json").write_text(json.dumps(config))
        folders.checklist(folder)

    return change


def removed(name):
    return lambda folder: (folder / name).unlink()


def retensored(change):
    def write(folder):
        tensors = folders.tensors_of("7b") | folders.frequencies("7b")
        change(tensors)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        folders.write(folder, "7b", tensors)

    return write


def four_bits(folder):
    file = folder / "model-00001-of-00002.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"F32"', b'"I4" ', 1))
    folders.checklist(folder)


def listed(line):
    return lambda folder: (folder / "checklist.chk").write_text(line)


NORM = "model.layers.1.input_layernorm.weight"
PROJECTION = "model.layers.1.mlp.up_proj.weight"
PACKED = "model.layers.1.mlp.up_proj.qweight"
FREQUENCIES = "model.layers.1.self_attn.rotary_emb.inv_freq"
CASES = {
    "no index": (removed("model.safetensors.index.json"), "neither model.safetensors nor"),
    "no shard": (removed("model-00001-of-00002.safetensors"), "copy that file too"),
    "no tokenizer": (removed("tokenizer.model"), "no tokenizer.model"),
    "no config": (removed("config.json"), "config.json"),
    "another hash": (damaged, "it is damaged or of another version"),
    "a list that leads out": (listed("0" * 64 + "  ../secret"), "leads out of the folder"),
    "no list": (listed("hello"), "line 1"),
    "a tensor is missing": (retensored(lambda t: t.pop(NORM)), f"{NORM} is missing"),
    "one too many": (retensored(lambda t: t.update(extra=np.ones(2, np.float32))), "extra has no place"),
    "another shape": (
        retensored(lambda t: t.update({NORM: np.ones(3, np.float32)})),
        f"{NORM} is 3 instead of 64",
    ),
    "another base": (retensored(lambda t: t.update({FREQUENCIES: 2 * t[FREQUENCIES]})), "rope_theta"),
    "no bias by config": (changed(bias=False), "says bias False"),
    "tied by config": (changed(tie_word_embeddings=True), "lm_head.weight"),
    "quantised": (changed(quantization_config={"bits": 4}), "quantised"),
    "int8 by its tensors": (
        retensored(lambda t: t.update({PROJECTION: t[PROJECTION].astype(np.int8)})),
        f"{PROJECTION} is I8: its weights are quantised",
    ),
    "int4 by its tensors": (
        retensored(lambda t: t.update({PACKED: np.ones((8, 8), np.int32)})),
        f"{PACKED} is I32: its weights are quantised",
    ),
    "4 bits that safetensors cannot name": (four_bits, "a tensor is I4: its weights are quantised"),
    "another class": (changed(architectures=["OpenPanguV2ForCausalLM"]), "sparse attention"),
    "no base": (changed(rope_theta=None), "rope_theta is missing"),
    "two bases": (changed(rope_parameters={"rope_theta": 1e4}), "rope_theta is 16000000.0 and 10000.0"),
    "stretched": (changed(rope_scaling={"factor": 2}), "scaling"),
    "heads do not fit": (changed(num_key_value_heads=3), "kv_heads"),
    "more ids than rows": (changed(vocab_size=300), "300"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(tmp_path, capsys, case):
    change, said = CASES[case]
    folder = folders.write(tmp_path / "published", "7b")
    change(folder)
    run = tmp_path / "run"
    command = ["checkpoint", "import", "--format", "hf", str(folder), "--run_dir", str(run)]
    assert cli.main(command) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1, error
    assert not run.exists() and not run.with_name("run.partial").exists()


@pytest.mark.parametrize(
    ("place", "said"),
    [("machine_bytes", "import it on a larger one"), ("free_bytes", "bytes of disk are free")],
)
def test_too_large_for_this_machine(tmp_path, capsys, monkeypatch, place, said):
    folder = folders.write(tmp_path / "published", "7b")
    monkeypatch.setattr(room, place, lambda *_: 100_000)
    (folder / "checklist.chk").write_text("not looked at")
    run = tmp_path / "run"
    assert cli.main(["checkpoint", "import", "--format", "hf", str(folder), "--run_dir", str(run)]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "100,000 bytes" in error and len(error.splitlines()) == 1, error
    assert not run.exists()
