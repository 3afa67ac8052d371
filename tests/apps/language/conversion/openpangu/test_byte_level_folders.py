"""A folder whose vocabulary is a tokenizer.json: there and back, asked in its turns; what is refused."""

import json

import numpy as np
import pytest

from data_pipelines.text.vocabulary import of_tokenizer_json, original
from pangu_jax import cli
from pangu_jax.apps.language.chat.reading import Conversation
from pangu_jax.apps.language.chat.session import Answer, ChatSession, TextDelta
from pangu_jax.apps.language.chat.turns import ChatTurn, Turns
from pangu_jax.apps.language.decoding.queries import Generated
from pangu_jax.apps.language.decoding.text_stream import TextStream
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.retrieval import prompting
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from tests.apps.language.conversion.openpangu import folders
from tests.data import byte_level_models as made


def write(folder, content=None, settings=None):
    """A dense model with a tokenizer.json; the end is what tokenizer_config.json says."""
    config = {name: value for name, value in folders.config_of("7b").items() if name != "eos_token_id"}
    folders.write(folder, "7b", config=config)
    (folder / "tokenizer.model").unlink()
    made.write(folder, content, settings)
    folders.checklist(folder)
    return folder


def test_there_and_back_and_asked(tmp_path, capsys):
    folder, run, out = write(tmp_path / "published"), tmp_path / "run", tmp_path / "out"
    assert cli.main(["checkpoint", "import", "--format", "hf", str(folder), "--run_dir", str(run)]) == 0
    assert "426 ids in 512 rows" in capsys.readouterr().out
    kept, theirs = (run / "vocabulary.model").read_bytes(), (folder / "tokenizer.json").read_bytes()
    assert original(kept) == theirs
    command = ["generate", "--run_dir", str(run), "--prompt", "你好", "--max_tokens", "8", "--json", "-"]
    assert cli.main(command) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["prompt"] == "你好" and row["tokens"] <= 8
    assert cli.main(["checkpoint", "export", "--format", "hf", "--run_dir", str(run), "--out", str(out)]) == 0
    assert (out / "tokenizer.json").read_bytes() == theirs and not (out / "tokenizer.model").exists()
    for name in ("config.json", "tokenizer_config.json"):
        assert json.loads((out / name).read_text()) == json.loads((folder / name).read_text())


def unigram(theirs):
    theirs["model"] = {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]]}


def more_ids(theirs):
    token = theirs["added_tokens"][-1]
    theirs["added_tokens"] += [{**token, "id": id, "content": f"<{id}>"} for id in range(426, 520)]


REFUSED = {
    "no JSON": ("{", None, "tokenizer.json is not JSON"),
    "unigram": (unigram, None, "a model of type 'Unigram', and byte-level BPE is what is read"),
    "no end": (
        None,
        {"pad_token": made.PAD},
        'names no end of a text: write the token that is one as "eos_token"',
    ),
    "more ids than rows": (more_ids, None, "tokenizer.json has 520 ids and the model 512 rows"),
    "no library": (None, None, "needs tokenizers: pip install 'pangu-jax[hf]'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, capsys, monkeypatch, case):
    change, settings, said = REFUSED[case]
    content = change
    if callable(change):
        change(theirs := json.loads(made.written()))
        content = json.dumps(theirs)
    folder, run = write(tmp_path / "published", content, settings), tmp_path / "run"
    if case == "no library":
        monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    assert cli.main(["checkpoint", "import", "--format", "hf", str(folder), "--run_dir", str(run)]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1, error
    assert not run.exists() and not run.with_name("run.partial").exists()


def test_no_character_is_torn_in_a_conversation(tmp_path):
    codes = made.vocabulary(tmp_path)
    turns = Turns.of(codes)
    assert turns is not None
    asked = turns.prompt([ChatTurn.of("user", "[unused10]你好")])
    begin, end = codes.added("[unused9]"), codes.special.eos
    letters = codes.encode("[unused10]你好").tolist()
    assert end not in letters
    assert asked.tolist() == [
        *[begin, *codes.encode("系统："), end],
        *[begin, *codes.encode("用户：").tolist(), *letters, end],
        *[begin, *codes.encode("助手：")],
    ]
    said = "龘 hello 👍。我们"
    tokens = [
        codes.added("[unused16]"),
        *codes.encode("想龘"),
        codes.added("[unused17]"),
        *codes.encode(said),
    ]

    def stream(query):
        def writing():
            yield from tokens
            return Generated(np.array(tokens, np.int32), -1.0, "end")

        return TextStream(writing())

    model, prompts = LoadedModel(DecoderConfig(vocab_size=codes.size), {}, codes), prompting.load()
    talk = ChatSession(model, stream, prompts, reading=Conversation(turns, model.after, prompts))
    parts = list(talk.answer("你好"))
    pieces = [part for part in parts if isinstance(part, TextDelta)]
    assert "".join(part.text for part in pieces if part.kind == "text") == said and len(pieces) > 8
    assert not any("\ufffd" in part.text for part in pieces)
    (answer,) = [part for part in parts if isinstance(part, Answer)]
    assert (answer.text, answer.thinking) == (said, "想龘")


def test_a_run_whose_vocabulary_is_another_models(tmp_path, capsys):
    folder, run = write(tmp_path / "published"), tmp_path / "run"
    assert cli.main(["checkpoint", "import", "--format", "hf", str(folder), "--run_dir", str(run)]) == 0
    more_ids(theirs := json.loads(made.written()))
    other = made.write(tmp_path / "other", json.dumps(theirs))
    (run / "vocabulary.model").write_bytes(of_tokenizer_json(other))
    capsys.readouterr()
    assert cli.main(["generate", "--run_dir", str(run), "--prompt", "你好"]) == 2
    error = capsys.readouterr().err.strip()
    assert "520 ids and the model 512 rows" in error and len(error.splitlines()) == 1
