"""Gaps of a text: how they are asked for, what comes back, and `pangu fill` around it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.text.vocabulary import Vocabulary
from data_pipelines.text.vocabulary.added_tokens import Additions, written
from pangu_jax import cli
from pangu_jax.apps.language.decoding import filling
from pangu_jax.apps.language.decoding.queries import Generated
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.errors import UserError
from pangu_jax.verbs import model_flags
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from tests.apps.language.conversion import t5_folders

TEXT = "我们<extra_id_0>语言<extra_id_1>。"


def model_of(codes: Vocabulary, **settings) -> LoadedModel:
    return LoadedModel(EncoderDecoderConfig(), {}, codes, **settings)


PROTO = t5_folders.spiece()
T5 = model_of(Vocabulary("t5.model", PROTO))
FEW = model_of(Vocabulary("few.model", written(PROTO, Additions(111, 2))))
NONE = model_of(Vocabulary("none.model", written(PROTO, Additions(-1, 0))))


def ids(text: str) -> list[int]:
    return T5.vocabulary.encode(text).tolist()


def test_the_question_is_what_span_corruption_made(t5=T5):
    query = filling.query(t5, TEXT, "--prompt")
    assert query.prefix.tolist() == [209] and query.inputs[-1] == 1
    assert [id for id in query.inputs.tolist() if id > 109] == [209, 208]
    soft = model_of(t5.vocabulary, prompt=np.array([224, 225], np.int32))
    assert filling.query(soft, TEXT, "").inputs.tolist() == [224, 225, *query.inputs.tolist()]


REFUSED = {
    "no gap": (T5, "我们", "there is no gap in it; write <extra_id_0>"),
    "from one": (T5, "我们<extra_id_1>", "its gaps are numbered 1; write <extra_id_0>"),
    "twice": (T5, "<extra_id_0><extra_id_0>", "its gaps are numbered 0, 0;"),
    "backwards": (T5, "<extra_id_1><extra_id_0>", "numbered 1, 0;"),
    "too many": (FEW, "<extra_id_0><extra_id_1><extra_id_2>", "3 gaps, and the vocabulary has 2 sentinels"),
    "no sentinels": (NONE, TEXT, "has a vocabulary without sentinels and cannot fill gaps"),
    "causal": (model_of(T5.vocabulary, causal_only=True), TEXT, "learned causal modelling only"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_text_that_cannot_be_filled(what):
    model, text, message = REFUSED[what]
    with pytest.raises(UserError, match=message):
        filling.query(model, text, "texts.txt:3")


WRITTEN = {
    "both": ([*ids("研究"), 208, *ids("今天")], ("研究", "今天")),
    "the second": ([208, *ids("今天")], ("", "今天")),
    "the first": (ids("研究"), ("研究", None)),
    "nothing": ([], ("", None)),
    "one more, as T5's targets end": ([*ids("研究"), 208, *ids("今天"), 207], ("研究", "今天")),
    "again": ([*ids("研究"), 209, *ids("今天")], ("研究", None)),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_what_was_written_is_put_in_its_place(what):
    tokens, spans = WRITTEN[what]
    filled = filling.fill(T5, TEXT, np.array(tokens, np.int32))
    assert filled.spans == spans
    second = "<extra_id_1>" if spans[1] is None else spans[1]
    assert filled.text == f"我们{spans[0]}语言{second}。"


@given(st.integers(1, 6), st.lists(st.integers(0, 230), max_size=30))
def test_any_tokens_fill_a_text(gaps, tokens):
    text = "的".join(f"<extra_id_{i}>" for i in range(gaps))
    filled = filling.fill(T5, text, np.array(tokens, np.int32))
    assert len(filled.spans) == gaps and filled.spans[0] is not None
    parts = [f"<extra_id_{i}>" if span is None else span for i, span in enumerate(filled.spans)]
    assert filled.text == "的".join(parts)


@pytest.fixture
def pangu(monkeypatch, capsys):
    """The command line, with a generator that writes the same for every question."""
    asked = []

    def generate(queries, settings, max_tokens):
        asked.extend(queries)
        tokens = np.array([*ids("研究"), 208, *ids("今天")], np.int32)
        return [Generated(tokens, -1.5) for _ in queries]

    def several(queries, settings, max_tokens, count):
        return [[text] * count for text in generate(queries, settings, max_tokens)]

    generator = SimpleNamespace(generate=generate, several=several)
    monkeypatch.setattr(model_flags, "open_run", lambda flags: (T5, generator))

    def run(*arguments):
        status = cli.main([*map(str, arguments), "--run_dir", "r"])
        captured = capsys.readouterr()
        return status, captured.out, captured.err, asked

    return run


def test_the_verb_fills_the_lines_of_a_file(pangu, tmp_path):
    (tmp_path / "in.txt").write_text(f"{TEXT}\n<extra_id_0>\n", "utf-8")
    status, _, err, _ = pangu("fill", "--file", tmp_path / "in.txt", "--out", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert status == 0 and "gaps" not in err
    said = {"score": -1.5, "tokens": rows[0]["tokens"], "finish": "end"}
    assert rows[0] == {"prompt": TEXT, "text": "我们研究语言今天。", "spans": ["研究", "今天"], **said}
    assert rows[1]["text"] == "研究"


def test_the_verb_says_what_it_cannot(pangu, tmp_path):
    status, out, err, _ = pangu("fill", "--prompt", TEXT + "<extra_id_2>")
    assert status == 0 and out == "我们研究语言今天。<extra_id_2>\n" and "1 of 3 gaps got no text" in err
    (tmp_path / "in.txt").write_text("我们\n", "utf-8")
    status, out, err, _ = pangu("fill", "--file", tmp_path / "in.txt")
    assert (status, out) == (2, "") and "in.txt:1: there is no gap in it" in err
    assert pangu("fill", "--prompt", TEXT, "--mode", "[R]")[0] == 2


def test_prompts_of_generate_hold_sentinels_as_t5s_tokenizer_has_it(pangu):
    for flags, count in (((), 2), (("--sentinels",), 2), (("--no-sentinels",), 0)):
        status, _, _, asked = pangu("generate", "--prompt", TEXT, *flags)
        assert status == 0 and sum(id > 109 for id in asked[-1].inputs.tolist()) == count
