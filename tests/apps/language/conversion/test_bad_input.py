"""What cannot be imported or exported is one line that names it, exit 2, and leaves nothing behind."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pangu_jax.apps.language.conversion import exporting, importing
from pangu_jax.cli import main
from tests.apps.language.conversion import t5_folders

SAFETENSORS = "model.safetensors"
QUERY = "encoder.block.0.layer.0.SelfAttention.q.weight"


@pytest.fixture(scope="module")
def sound(tmp_path_factory, spiece) -> Path:
    tensors = t5_folders.tensors_of("t5")
    return t5_folders.write(
        tmp_path_factory.mktemp("sound") / "t5", t5_folders.config_of("t5"), tensors, spiece
    )


@pytest.fixture(scope="module")
def run_dir(sound) -> Path:
    made = sound.parent / "run"
    assert main(["checkpoint", "import", str(sound), "--format", "hf", "--run_dir", str(made)]) == 0
    return made


def configured(**entries) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | entries
        (folder / "config.json").write_text(json.dumps(config))

    return change


def with_tensors(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        tensors = load_file(folder / SAFETENSORS)
        change(tensors)
        save_file(tensors, folder / SAFETENSORS)

    return write


def truncate(folder: Path) -> None:
    whole = (folder / SAFETENSORS).read_bytes()
    (folder / SAFETENSORS).write_bytes(whole[:-7])


def pickled(folder: Path) -> None:
    (folder / SAFETENSORS).rename(folder / "pytorch_model.bin")


def berts(folder: Path) -> None:
    (folder / "spiece.model").rename(folder / "vocab.txt")


def index_of(*files: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / SAFETENSORS).rename(folder.parent / "elsewhere.safetensors")
        weight_map = {str(number): file for number, file in enumerate(files)}
        (folder / f"{SAFETENSORS}.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return write


SOURCES = {
    "no tensor": (with_tensors(lambda t: t.pop(QUERY)), f"{QUERY} is missing"),
    "extra tensor": (with_tensors(lambda t: t.update(classifier=t[QUERY])), "classifier has no place"),
    "wrong shape": (with_tensors(lambda t: t.update({QUERY: t[QUERY][:-1]})), "11x16 instead of 12x16"),
    "int8": (
        with_tensors(lambda t: t.update({QUERY: t[QUERY].astype(np.int8)})),
        f"{QUERY} is I8: its weights are quantised",
    ),
    "other alias": (
        with_tensors(lambda t: t.update({"encoder.embed_tokens.weight": t["shared.weight"] + 1})),
        "encoder.embed_tokens.weight differs from shared.weight",
    ),
    "truncated": (truncate, "is damaged or no safetensors file"),
    "no torch file": (pickled, "is no zip archive, as torch has written since version 1.6"),
    "no head": (
        configured(tie_word_embeddings=False, transformers_version="4.40.0"),
        "and there is no lm_head.weight: a file was not copied",
    ),
    "added token": (
        lambda folder: (folder / "added_tokens.json").write_text('{"<ORG>": 224}'),
        'added tokens beyond the 224 rows of the embedding: "<ORG>"',
    ),
    "no weights": (lambda folder: (folder / SAFETENSORS).unlink(), f"has neither {SAFETENSORS} nor"),
    "no shard": (index_of("model-00001-of-00002.safetensors"), "which is not beside it"),
    "shard elsewhere": (index_of("../elsewhere.safetensors"), "which is not beside it"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "cannot read"),
    "broken config": (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
    "list config": (lambda folder: (folder / "config.json").write_text("[]"), "is no JSON object"),
    "umt5": (
        configured(model_type="umt5"),
        "'umt5' cannot be imported: it has a table of positions in every",
    ),
    "bert": (configured(model_type="bert"), "only t5 and mt5 are read"),
    "size": (configured(d_model="16"), "d_model is '16' instead of a size"),
    "true size": (configured(num_heads=True), "num_heads is True instead of a size"),
    "exact gelu": (configured(feed_forward_proj="gelu"), "feed_forward_proj 'gelu', the exact GELU, is not"),
    "epsilon": (configured(layer_norm_epsilon=1e-5), "layer_norm_epsilon is 1e-05"),
    "start": (configured(decoder_start_token_id=101), "decoder_start_token_id is 101"),
    "dropout": (configured(dropout_rate=1.5), "dropout_rate 1.5 is no rate"),
    "doubtful mt5": (
        configured(model_type="mt5", tie_word_embeddings=True, transformers_version="4.40.0"),
        "scaled by transformers 4 and not by 5",
    ),
    "other sizes": (configured(num_layers=2), "encoder.block.1.layer.0.SelfAttention.k.weight is missing"),
    "too many layers": (configured(num_layers=10**12), "1000000000000 + 2 layers, the files hold"),
    "no vocabulary": (lambda folder: (folder / "spiece.model").unlink(), "has no spiece.model"),
    "vocab.txt": (berts, "BERT's vocab.txt instead of spiece.model"),
    "no spiece": (lambda folder: (folder / "spiece.model").write_text("x"), "is not a sentencepiece model"),
}


@pytest.mark.parametrize("what", SOURCES)
def test_a_source_that_is_no_t5(sound, tmp_path, capsys, what):
    damage, message = SOURCES[what]
    shutil.copytree(sound, tmp_path / "t5")
    damage(tmp_path / "t5")
    refused(capsys, message, "import", str(tmp_path / "t5"), "--run_dir", str(tmp_path / "run"))
    assert not list(tmp_path.glob("run*"))


def test_a_vocabulary_of_another_model(sound, tmp_path, capsys):
    shutil.copytree(sound, tmp_path / "t5")
    configured(vocab_size=200)(tmp_path / "t5")
    with_tensors(lambda t: t.update({"shared.weight": t["shared.weight"][:200]}))(tmp_path / "t5")
    message = "has 210 ids with its sentinels and the embedding 200 rows"
    refused(capsys, message, "import", str(tmp_path / "t5"), "--run_dir", str(tmp_path / "run"))


def test_a_full_disk_leaves_nothing(sound, run_dir, tmp_path, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(importing, "_read", full)
    monkeypatch.setattr(exporting, "write_json", full)
    message = "no space left on device; free the disk or name another folder"
    refused(capsys, message, "import", str(sound), "--run_dir", str(tmp_path / "run"))
    refused(capsys, message, "export", "--run_dir", str(run_dir), "--out", str(tmp_path / "out"))
    assert not list(tmp_path.iterdir())


def test_folders_that_are_taken(sound, run_dir, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for taken in (run_dir, tmp_path, tmp_path / "file"):
        refused(capsys, "is there and not empty", "import", str(sound), "--run_dir", str(taken))
        refused(capsys, "is there and not empty", "export", "--run_dir", str(run_dir), "--out", str(taken))


def damaged(run_dir: Path) -> None:
    file = max((run_dir / "checkpoints/0/state/d").iterdir(), key=lambda file: file.stat().st_size)
    file.write_bytes(b"x" + file.read_bytes()[1:])


def rotary(run_dir: Path) -> None:
    recipe = run_dir / "recipe.gin"
    recipe.write_text(recipe.read_text().replace("position = 'relative'", "position = 'rotary'"))


def with_prompt(run_dir: Path) -> None:
    manifest = run_dir / "checkpoints/0/manifest/metadata"
    described = json.loads(manifest.read_text())
    described["arrays"]["params/embedding"]["shape"][0] += 20
    manifest.write_text(json.dumps(described))
    (run_dir / "checkpoints/0/checksums.json").unlink()


def other_vocabulary(run_dir: Path) -> None:
    (run_dir / "vocabulary.model").write_bytes(t5_folders.spiece(own_sentinels=True))


RUNS = {
    "no run": (shutil.rmtree, "there is no run directory"),
    "damaged": (damaged, "has changed since it was written"),
    "rotary": (rotary, "EncoderDecoder.position is 'rotary', and a T5 has 'relative'"),
    "soft prompt": (with_prompt, "embedding is [244, 16] instead of [224, 16]"),
    "vocabulary": (other_vocabulary, "is not the vocabulary that step 0 was trained with"),
    "no vocabulary": (lambda run: (run / "vocabulary.model").unlink(), "text cannot be read without it"),
    "no recipe": (lambda run: (run / "recipe.gin").unlink(), "has no recipe.gin"),
}


@pytest.mark.parametrize("what", RUNS)
def test_a_run_that_is_no_t5(run_dir, tmp_path, capsys, what):
    damage, message = RUNS[what]
    shutil.copytree(run_dir, tmp_path / "run")
    damage(tmp_path / "run")
    refused(capsys, message, "export", "--run_dir", str(tmp_path / "run"), "--out", str(tmp_path / "out"))
    assert not list(tmp_path.glob("out*"))


def test_steps_and_sizes_that_are_not(run_dir, tmp_path, capsys):
    out = ["--run_dir", str(run_dir), "--out", str(tmp_path / "out")]
    refused(capsys, "no checkpoint of step 7 in", "export", *out, "--step", "7")
    refused(capsys, "--shard_gb 0: give a size above 0", "export", *out, "--shard_gb", "0")


def refused(capsys, message: str, verb: str, *arguments: str) -> None:
    capsys.readouterr()
    assert main(["checkpoint", verb, *arguments, "--format", "hf"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and message in said[0], said
