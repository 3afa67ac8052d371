"""`pangu generate` and `pangu chat`, from flags to files: with a tiny model in place of a run directory's."""

import io
import json
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from data_pipelines.text.vocabulary import SpecialTokens
from pangu_jax import cli, recipes
from pangu_jax.apps.language.decoding.generator import Generator
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.settings import Beam, Greedy, Sampling
from pangu_jax.apps.language.loaded import LoadedModel, writes_causally
from pangu_jax.verbs import model_flags
from pangu_jax.verbs.generate import read_prompts
from pangu_jax.verbs.sampling_flags import SamplingFlags
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.model.forward import Forward

CONFIG = EncoderDecoderConfig(
    vocab_size=260, d_model=16, d_ff=16, heads=2, encoder_layers=1, decoder_layers=1
)


class Bytes:
    """What `loading.load` gives, with a vocabulary of bytes; remembers the modes that it was asked for."""

    def __init__(self):
        self.forward, self.params = Forward(CONFIG), architecture.init(CONFIG, jax.random.key(0))
        self.vocabulary = SimpleNamespace(special=SimpleNamespace(modes={"[S]": 1, "[C]": 2}))
        self.modes, self.decoder_alone = [], False

    def query(self, text, mode=None, sentinels=None):
        self.modes.append(mode)
        return Query(self.encode_inputs(text))

    def encode_inputs(self, text):
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32) + 3

    def decode(self, tokens):
        return "".join(chr(0x4E00 + int(token)) for token in tokens)


@pytest.fixture(scope="module")
def model():
    loaded = Bytes()
    return loaded, Generator(loaded.forward, loaded.params, batch_size=1)  # one shape, one program


@pytest.fixture
def pangu(model, monkeypatch, capsys):
    """Runs the command line and gives back its status, output and errors."""
    monkeypatch.setattr(model_flags, "open_run", lambda flags: model)

    def run(*arguments):
        status = cli.main(list(map(str, arguments)))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


PROMPTS = ["一二三四，", "短", "不长"]  # of the shortest shape, all


def test_a_file_is_answered_in_its_order_as_each_prompt_is_alone(pangu, tmp_path):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in PROMPTS))
    out = tmp_path / "out.jsonl"
    status, text, _ = pangu(
        "generate", "--run_dir", "r", "--file", tmp_path / "in.jsonl", "--out", out, "--max_tokens", 5
    )
    assert status == 0 and "3 texts" in text
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["prompt"] for row in rows] == PROMPTS
    alone = [
        pangu("generate", "--run_dir", "r", "--prompt", p, "--max_tokens", 5)[1].rstrip("\n") for p in PROMPTS
    ]
    assert [row["text"] for row in rows] == alone
    assert len(set(alone)) > 1  # the control: the prompts matter


def test_json_goes_to_standard_output_alone(pangu):
    status, out, _ = pangu("generate", "--run_dir", "r", "--prompt", "短", "--max_tokens", 5, "--json", "-")
    (row,) = json.loads(out)
    assert status == 0 and row["prompt"] == "短" and row["score"] < 0 and 1 <= len(row["text"]) <= 5


def test_an_empty_text_is_said_to_be_one(pangu, model, monkeypatch):
    """A blank line alone looked like a verb that had done nothing."""
    ask = ("generate", "--run_dir", "r", "--prompt", "短", "--max_tokens", 5)
    assert "empty" not in pangu(*ask)[2]
    monkeypatch.setattr(model[0], "decode", lambda tokens: "")
    status, _, err = pangu(*ask)
    assert status == 0 and "1 of 1 texts are empty: the model ended them at once" in err


def rows_of(pangu, *arguments, tokens=5):
    status, out, err = pangu("generate", "--run_dir", "r", "--max_tokens", tokens, "--json", "-", *arguments)
    assert status == 0, err
    return json.loads(out)


def test_a_text_has_one_score_however_it_was_found(pangu):
    (greedy,) = rows_of(pangu, "--prompt", "短")
    (beam,) = rows_of(pangu, "--prompt", "短", "--beams", 1)
    assert beam["text"] == greedy["text"] and beam["score"] == pytest.approx(greedy["score"], abs=1e-3)
    assert beam["rank_score"] == pytest.approx(beam["score"] / beam["tokens"], abs=1e-3)
    assert "rank_score" not in greedy and greedy["finish"] == beam["finish"] == "cut" and beam["tokens"] == 5


def test_several_texts_of_a_prompt_are_rows_that_say_of_which(pangu, tmp_path):
    (tmp_path / "in.txt").write_text("短\n不长\n短\n", "utf-8")
    draw = ("--file", tmp_path / "in.txt", "--temperature", 1.5, "--samples", 2)
    rows = rows_of(pangu, *draw)
    places = [(row["prompt_index"], row["text_index"]) for row in rows]
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert [row["prompt"] for row in rows] == ["短"] * 2 + ["不长"] * 2 + ["短"] * 2
    texts = [row["text"] for row in rows]
    assert len(set(texts)) == 6  # the prompt that comes again is drawn anew
    same = [row["text"] for row in rows_of(pangu, *draw, "--same_draws")]
    assert same[:4] == texts[:4] and same[4:] == same[:2]
    assert [row["text"] for row in rows_of(pangu, "--prompt", "短", *draw[2:])] == texts[:2]
    (tmp_path / "in.txt").write_text("不长\n", "utf-8")
    assert [row["text"] for row in rows_of(pangu, *draw)] == texts[2:4]


def test_the_best_of_the_beams_come_in_their_order(pangu):
    rows = rows_of(pangu, "--prompt", "短", "--beams", 3, "--samples", 2, "--length_penalty", 0)
    assert [row["text_index"] for row in rows] == [0, 1]
    assert rows[0]["score"] > rows[1]["score"] and all(row["rank_score"] == row["score"] for row in rows)


def test_draws_repeat_with_their_seed(pangu):
    draw = ("generate", "--run_dir", "r", "--prompt", "短", "--max_tokens", 5, "--temperature", 2, "--seed")
    assert pangu(*draw, 1)[1] == pangu(*draw, 1)[1] != pangu(*draw, 2)[1]


def test_the_mode_reaches_the_model(pangu, model):
    pangu("generate", "--run_dir", "r", "--prompt", "短", "--max_tokens", 5, "--mode", "[S]")
    assert model[0].modes[-1] == "[S]"


@pytest.mark.parametrize(
    ("choosing", "settings"),
    [
        (SamplingFlags(), Greedy()),
        (SamplingFlags(beams=4), Beam(beams=4)),
        (SamplingFlags(beams=4, length_penalty=0.0), Beam(beams=4, length_penalty=0.0)),
        (SamplingFlags(top_k=5, seed=3), Sampling(top_k=5, seed=3)),
        (SamplingFlags(temperature=0.5, top_p=0.9), Sampling(temperature=0.5, top_p=0.9)),
        (SamplingFlags(no_repeat_ngram=2), Greedy(no_repeat_ngram=2)),
    ],
)
def test_flags_say_how_tokens_are_chosen(choosing, settings):
    assert choosing.settings() == settings


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--prompt", " "], "an empty prompt"),
        (["--prompt", "甲", "--file", "x"], "one of them"),
        ([], "one of them"),
        (["--file", "missing.txt"], "cannot read missing.txt"),
        (["--prompt", "甲", "--max_tokens", "0"], "--max_tokens 0"),
        (["--prompt", "甲", "--beams", "2", "--top_k", "3"], "exclude each other"),
        (["--prompt", "甲", "--temperature", "0"], "temperature"),
        (["--prompt", "甲", "--temperature", "nan"], "temperature"),
        (["--prompt", "甲", "--length_penalty", "2"], "give --beams too"),
        (["--prompt", "甲", "--beams", "2", "--length_penalty", "inf"], "length_penalty"),
        (["--prompt", "甲", "--samples", "0"], "--samples 0"),
        (["--prompt", "甲", "--samples", "2"], "draw (--temperature 1)"),
        (["--prompt", "甲", "--samples", "3", "--beams", "2"], "give --beams 3"),
        (["--prompt", "甲", "--beams", "2", "--same_draws"], "nothing is drawn"),
        (["--prompt", "甲", "--out", "/nowhere/x"], "/nowhere/x"),
        (["--prompt", "长" * 2000], "4096"),
        (["--prompt", "甲", "--mode", "[Q]"], "--mode [Q]: this model knows [S], [C]"),
    ],
)
def test_what_cannot_be_generated_is_said_in_one_line(pangu, arguments, error):
    status, out, err = pangu("generate", "--run_dir", "r", *arguments)
    assert status == 2 and out == "" and error in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.txt", "甲\n\n乙\n", "a.txt:2: an empty prompt"),
        ("a.txt", "", "no prompt in it"),
        ("a.jsonl", '{"prompt": "甲"}\n{"prompt": \n', "a.jsonl:2: malformed JSON"),
        ("a.jsonl", '{"text": "甲"}\n', 'a.jsonl:1: there is no text in field "prompt"'),
        ("a.jsonl", '{"prompt": " "}\n', "a.jsonl:1: an empty prompt"),
    ],
)
def test_bad_lines_are_named(pangu, tmp_path, name, content, error):
    (tmp_path / name).write_text(content, "utf-8")
    status, _, err = pangu("generate", "--run_dir", "r", "--file", tmp_path / name)
    assert status == 2 and error in err and len(err.splitlines()) == 1


def test_lines_of_text_are_prompts_without_their_ends(tmp_path):
    (tmp_path / "a.txt").write_bytes("甲 \r\n乙".encode())
    assert read_prompts(None, str(tmp_path / "a.txt")) == ["甲 ", "乙"]


@pytest.fixture
def knowledge(tmp_path):
    file = tmp_path / "tea.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE tea (名称 TEXT, 价格 TEXT)")
        connection.execute("INSERT INTO tea VALUES ('绿茶', '三元'), ('红茶', '五元')")
    connection.close()
    (tmp_path / "shop.md").write_text("# 小店\n\n小店九点开门。\n", "utf-8")
    return file, tmp_path / "shop.md"


def test_a_pipe_of_questions_is_answered_and_cited(pangu, knowledge, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stdin", io.StringIO("绿茶什么价格？小店几点开门？\n/quit\n"))
    (tmp_path / "tea.pdf").write_bytes(b"%PDF")
    status, out, err = pangu(
        *("chat", "--run_dir", "r", "--knowledge", *knowledge, tmp_path / "tea.pdf", "--passages", 1),
        *("--max_tokens", 4, "--turns", 0),
        *("--cache", tmp_path / "cache", "--json", tmp_path / "talk.json"),
    )
    assert status == 0
    assert "left out of the knowledge: 1 x of a kind that is not read, .pdf, the first " in err
    assert "[1] tea:1  名称：绿茶；价格：三元" in out and "[1] shop.md:1" in out
    talked = json.loads((tmp_path / "talk.json").read_text("utf-8"))
    assert [turn["question"] for turn in talked] == ["绿茶什么价格？", "小店几点开门？"]
    assert [turn["citations"][0]["source"] for turn in talked] == ["tea:1", "shop.md:1"]
    assert all(turn["answer"] in out and turn["score"] < 0 for turn in talked)
    assert {turn["finish"] for turn in talked} <= {"end", "cut"}
    assert all(turn["citations"][0]["relevance"] > 0 for turn in talked)


def test_knowledge_by_the_models_own_encoder(pangu, knowledge, monkeypatch, tmp_path):
    pytest.importorskip("faiss")
    monkeypatch.setattr("sys.stdin", io.StringIO("绿茶什么价格？\n"))
    status, out, _ = pangu(
        *("chat", "--run_dir", "r", "--knowledge", knowledge[0], "--retriever", "embeddings"),
        *("--passages", 1, "--max_tokens", 4, "--cache", tmp_path / "cache"),
    )
    assert status == 0 and "[1] tea:" in out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--knowledge", "missing.db"], "there is no file or folder missing.db"),
        (["--passages", "0"], "--passages 0"),
        (["--turns", "-1"], "--turns -1"),
        (["--prompts", "missing.toml"], "cannot read the prompts missing.toml"),
        (["--max_tokens", "0"], "--max_tokens 0"),
    ],
)
def test_what_cannot_be_talked_about_is_said_in_one_line(pangu, monkeypatch, arguments, error):
    monkeypatch.setattr("sys.stdin", io.StringIO("你好\n"))
    status, _, err = pangu("chat", "--run_dir", "r", *arguments)
    assert status == 2 and error in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(("recipe", "alone"), [("fewclue", True), ("quickstart", False)])
def test_a_run_of_causal_modelling_goes_on_from_its_own_text(tmp_path, recipe, alone):
    (tmp_path / "recipe.gin").write_text(Path(f"gin/nlp/{recipe}.gin").read_text("utf-8"), "utf-8")
    read = recipes.load([tmp_path / "recipe.gin"])
    assert writes_causally(read) is alone
    special = SpecialTokens({"[S]": 1, "[C]": 2}, 100)
    letters = SimpleNamespace(encode=lambda text: np.array([*text.encode()], np.int32), special=special)
    model = LoadedModel(CONFIG, {}, letters, causal_only=alone)
    encoder, decoder = ([2], [97, 98]) if alone else ([1, 97, 98], [])
    assert [part.tolist() for part in model.query("ab")[:2]] == [encoder, decoder]
    assert [part.tolist() for part in model.query("ab", "[C]")[:2]] == [[2], [97, 98]]
    assert [part.tolist() for part in model.query("ab", "[S]")[:2]] == [[1, 97, 98], []]
