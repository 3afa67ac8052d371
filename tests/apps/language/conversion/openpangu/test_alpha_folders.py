"""PanGu-alpha's weights to a run directory and back to the bit; and folders that are none, in one line."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from pangu_jax import cli
from pangu_jax.apps.language.conversion.openpangu import alpha
from pangu_jax.runs.exchange.mindspore_files import MindSporeFile
from tests.apps.language.conversion.openpangu import alpha_folders as folders
from tests.data import published_models

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[5] / "../shared/data")
PUBLISHED = DATA / "tokenizers" / "pangu_alpha" / "vocab.model"


def command(folder, run, *more):
    given = ["checkpoint", "import", "--format", "pangu_alpha", str(folder), "--run_dir", str(run)]
    return [*given, *(more or ("--heads", str(folders.HEADS)))]


def number(value):
    """A varint."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(field, content):
    return number(field << 3 | 2) + number(len(content)) + content


def checkpoint(tensors, cut=1 << 12):
    """A .ckpt of MindSpore, by the schema: tensors longer than `cut` in parts."""
    out = b""
    for name, tensor in tensors.items():
        dims = b"".join(number(1 << 3) + number(size) for size in tensor.shape)
        type_ = message(2, {4: b"Float32", 2: b"Float16"}[tensor.itemsize])
        content = tensor.tobytes()
        for at in range(0, len(content), cut):
            part = message(2, dims + type_ + message(3, content[at : at + cut]))
            out += message(1, message(1, name.encode()) + part)
    return out


def mixed():
    """Tables in fp32 and the rest in fp16, as they were published."""
    tensors = folders.tensors()
    return {name: t if "table" in name else t.astype(np.float16) for name, t in tensors.items()}


def as_checkpoint(folder):
    folder.mkdir()
    moment = {"adam_m.backbone.layernorm.gamma": np.ones(folders.WIDTH, np.float32)}
    (folder / "alpha.ckpt").write_bytes(checkpoint(mixed() | moment))
    (folder / "vocab.model").write_bytes(published_models.pangu_alpha())


@pytest.mark.parametrize("write", [lambda folder: folders.write(folder, mixed()), as_checkpoint])
def test_there_and_back(tmp_path, capsys, write):
    write(tmp_path / "published")
    assert cli.main(command(tmp_path / "published", tmp_path / "run")) == 0
    said = capsys.readouterr().out
    assert "PanGu-alpha" in said and "GELU is tanh" in said and "not the published vocab.model" in said
    assert ("1 moments" in said) == (write is as_checkpoint)
    out = tmp_path / "out"
    export = ["checkpoint", "export", "--format", "pangu_alpha", "--run_dir", str(tmp_path / "run")]
    assert cli.main([*export, "--out", str(out)]) == 0
    wanted = mixed()
    assert {file.stem for file in out.glob("*.npy")} == wanted.keys()
    for name, tensor in wanted.items():
        found = np.load(out / f"{name}.npy")
        assert found.dtype == tensor.dtype and found.tobytes() == tensor.tobytes(), name
    assert (out / "vocab.model").read_bytes() == published_models.pangu_alpha()
    if write is as_checkpoint:
        return
    capsys.readouterr()
    asked = ["generate", "--run_dir", str(tmp_path / "run"), "--prompt", "你好", "--json", "-"]
    assert cli.main([*asked, "--max_tokens", "8"]) == 0
    json.loads(capsys.readouterr().out)
    assert cli.main([*asked, "--max_tokens", "800"]) == 2
    assert "the model has 80 positions" in capsys.readouterr().err


@pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"no {PUBLISHED} (set PANGU_DATA_DIR)")
def test_the_published_vocabulary_is_known():
    content = PUBLISHED.read_bytes()
    assert hashlib.sha256(content).hexdigest().startswith(alpha.SHA256)


def removed(name):
    return lambda folder: (folder / name).unlink()


def saved(name, array):
    return lambda folder: np.save(folder / f"{name}.npy", array)


def truncated(folder):
    file = folder / "backbone.layernorm.beta.npy"
    file.write_bytes(file.read_bytes()[:-8])


def emptied(folder):
    for file in folder.glob("*.npy"):
        file.unlink()


def bad_checkpoint(folder):
    emptied(folder)
    (folder / "alpha.ckpt").write_bytes(checkpoint(mixed())[:-3])


TOP = "backbone.top_query_layer."
ONE = np.ones(3, np.float32)
HEADS = ("--heads", str(folders.HEADS))
CASES = {
    "nothing": (emptied, HEADS, "has no .npy of each parameter"),
    "no words": (removed("backbone.word_embedding.embedding_table.npy"), HEADS, "embedding_table is missing"),
    "one is missing": (removed(f"{TOP}attention.dense2.bias.npy"), HEADS, "dense2.bias is missing"),
    "one too many": (saved("backbone.extra", ONE), HEADS, "backbone.extra has no place"),
    "another shape": (saved(f"{TOP}layernorm1.beta", ONE), HEADS, "layernorm1.beta is 3 instead of 48"),
    "another dtype": (saved(f"{TOP}layernorm1.beta", np.ones(48)), HEADS, "layernorm1.beta is float64"),
    "objects": (saved("backbone.x", np.array([None])), HEADS, "backbone.x.npy is damaged or no array"),
    "cut short": (truncated, HEADS, "backbone.layernorm.beta.npy is damaged"),
    "a damaged checkpoint": (bad_checkpoint, HEADS, "damaged, encrypted or no checkpoint of MindSpore"),
    "an unknown width": (lambda folder: None, ("--gelu", "exact"), "say its heads by --heads N"),
    "no vocabulary": (removed("vocab.model"), HEADS, "--vocabulary FILE"),
    "pictures": (lambda folder: None, ("--size", "8"), "--size is for models of vision"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(tmp_path, capsys, case):
    change, more, said = CASES[case]
    folder, run = folders.write(tmp_path / "published"), tmp_path / "run"
    change(folder)
    assert cli.main(command(folder, run, *more)) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1, error
    assert not run.exists() and not run.with_name("run.partial").exists()


def test_another_models_vocabulary_is_refused(tmp_path, capsys):
    folder = folders.write(tmp_path / "published")
    (tmp_path / "other.model").write_bytes(published_models.openpangu())
    given = ("--vocabulary", str(tmp_path / "other.model"), *HEADS)
    assert cli.main(command(folder, tmp_path / "run", *given)) == 2
    assert "no vocabulary of PanGu-alpha" in capsys.readouterr().err


def test_any_cut_of_a_checkpoint_is_read_or_refused(tmp_path):
    """No cut of a small file gives tensors that were not written."""
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float16)}
    whole = checkpoint(tensors, cut=10)
    file = tmp_path / "a.ckpt"
    for end in range(1, len(whole) + 1):
        file.write_bytes(whole[:end])
        try:
            with MindSporeFile(file) as found:
                held = {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118
        except alpha.UserError:
            assert end < len(whole)
            continue
        assert all(np.array_equal(held[name], tensors[name]) for name in held)
    assert held.keys() == tensors.keys()
