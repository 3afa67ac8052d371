"""Benchmark tasks on made-up files in the formats that are published."""

import dataclasses
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.corpus import evaluation_sets
from data_pipelines.errors import DataError
from data_pipelines.text import benchmarks
from data_pipelines.text.benchmarks import Example, Pattern, published
from data_pipelines.text.benchmarks.definition import from_file
from data_pipelines.text.benchmarks.examples import origin, windowed, windows
from data_pipelines.text.benchmarks.registration import register
from data_pipelines.text.benchmarks.task import chance, majority
from data_pipelines.text.benchmarks.unlabelled import FILE, unlabelled
from data_pipelines.text.folder import Quarantine
from pangu_jax.verbs.data import VERBS
from tests.data import benchmark_files


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    benchmark_files.write(folder)
    return folder


def guess(rule, task, data, *splits):
    """What a rule of guessing gets, on splits by name."""
    return rule(task, *(task.examples(split, data) for split in splits))


def only(name, split, data, quarantine=None):
    return benchmarks.get(name).examples(split, data, quarantine)


@pytest.mark.parametrize("name", benchmarks.names())
def test_every_pattern_of_every_task_renders(name, data):
    """What a pattern says is right is the label in words; solved examples in front change nothing else."""
    task = benchmarks.get(name)
    examples = [example for split in task.splits(data) for example in task.examples(split, data)]
    assert examples
    for pattern in task.patterns.values():
        for example in examples:
            if pattern.shots:
                solved = [
                    dataclasses.replace(example, id=f"{label} {n}", label=label)
                    for label in task.labels or (example.label,)
                    for n in range(pattern.shots)
                ]
                if task.kind == "intents":
                    solved = [
                        dataclasses.replace(one, references=(task.target(one.label),)) for one in solved
                    ]
                pattern = pattern.with_demonstrations(solved)
            queries = pattern.queries(example)
            for query in queries:
                assert "{" not in query.inputs + query.prefix
                assert not query.candidates or len(set(query.candidates)) == len(query.candidates)
                if query.answer is not None:
                    assert query.reference == query.candidates[query.answer]
            if example.label is not None and queries[0].candidates:
                right = (task.labels or example.options).index(example.label)
                scores = [np.full(len(q.candidates), -9.0) for q in queries]
                for query, own in zip(queries, scores, strict=True):
                    own[query.answer] = -1.0
                assert pattern.chosen(scores) == right
            elif not queries[0].candidates and example.references:
                assert queries[0].reference == example.references[0]


def test_formats(data):
    """What each published format becomes."""
    (idiom,) = only("fewclue/chid", "test_public", data)
    assert idiom == Example("1", {"before": "他", "after": "地走了"}, "若无其事", ("若无其事", "一言为定"))
    first, second = only("clue/chid", "dev", data)
    assert (first.id, first.label, first.fields["after"]) == ("idiom000001", "若无其事", "地（　　）")
    assert (second.label, second.fields["before"]) == ("扬长而去", "他（　　）地")
    (pronoun,) = only("fewclue/cluewsc", "test_public", data)
    assert pronoun.fields["marked"] == "《树叶》飘入了树林，【他】走来了"
    assert pronoun.fields["resolved"] == "树叶飘入了树林，树叶走来了"
    quarantine = Quarantine()
    assert [e.id for e in only("clue/c3", "dev", data, quarantine)] == ["1-2/0", "1-2/1", "3-4/1"]
    assert quarantine.entries[0]["where"] == "3-4/0"
    (asked,) = only("clue/cmrc2018", "dev", data)
    assert asked.references == ("光荣", "光荣公司")
    (article,) = only("ttnews", "test", data)
    assert article == Example("1", {"text": "第一段。\n第二段。"}, None, references=("两段话",))
    assert [e.id for e in only("lcsts", "test", data)] == ["0", "1"]
    assert [e.id for e in only("lcsts", "test_scored", data)] == ["0"]
    assert only("lcsts", "train", data)[0].fields == {"text": "长文", "score": ""}
    quarantine = Quarantine()
    (title,) = only("csl/title", "dev", data, quarantine)
    assert title.references == ("新方法",) and quarantine.entries[0]["where"] == 2
    (keywords,) = only("fewclue/csl", "test_public", data)
    assert keywords.fields["keywords"] == "方法、新"
    music, weather = only("dialogue/cais", "test", data)
    assert (music.fields["text"], music.label, weather.label) == ("我听歌", "PlayMusic", "GetWeather")
    assert [e.label for e in only("dialogue/smp2019", "all", data)] == ["app/LAUNCH"] * 2
    flights, city = only("dialogue/mixatis", "dev", data)
    assert flights.fields["text"] == "show flights and fares" and flights.label == "atis_airfare；atis_flight"
    assert (city.id, city.references) == ("7", ("city",))


def test_intents_are_the_distinct_acts_of_a_turn(data):
    quarantine = Quarantine()
    task = benchmarks.get("dialogue/crosswoz")
    greeting, thanks = task.examples("val", data, quarantine)
    assert greeting.label == "General/greet；Request/酒店；Request/餐馆"
    assert greeting.references == ("询问酒店；询问餐馆；问候",)
    assert task.intents("问候；询问餐馆；询问酒店") == task.intents(greeting.references[0])
    assert (thanks.id, thanks.label, thanks.fields["previous"]) == ("17/3", "General/thank", "嗯")
    assert quarantine.noted == {"no label": 1}


def test_held_out_pairs_are_held_out():
    task = benchmarks.get("dialogue/crosswoz")
    labels = [f"{a}；{b}" for i, a in enumerate(sorted(task.labels)) for b in sorted(task.labels)[i + 1 :]]
    examples = [Example(label, {"text": label}, label) for label in [*labels, *task.labels]]
    seen = task.derived["val_seen_pairs"]({"val": examples})
    new = task.derived["test_new_pairs"]({"test": examples})
    assert {e.label for e in seen} | {e.label for e in new} == {e.label for e in examples}
    assert not {e.label for e in seen} & {e.label for e in new}
    assert 0.1 < len(new) / len(labels) < 0.3
    # A model that learns from what is seen has met every intent alone, and in pairs with others.
    assert set(task.labels) == {intent for e in seen if "；" in e.label for intent in e.label.split("；")}
    triple = Example("", {"text": ""}, "；".join(sorted({*new[0].label.split("；"), "General/thank"})))
    assert task.derived["val_new_pairs"]({"val": [triple]}) == [triple]


def test_malformed_lines_are_quarantined_with_their_numbers(data, tmp_path):
    file = tmp_path / "fewclue/bustm/train_0.json"
    file.parent.mkdir(parents=True)
    good = '{"id": 4, "sentence1": "一", "sentence2": "二", "label": "1"}\n'
    file.write_text(good + '{"id": 5,\n[1]\n\n{"sentence1": "一", "label": "0"}\n' + good, "utf-8")
    quarantine = Quarantine()
    assert len(only("fewclue/bustm", "train_0", tmp_path, quarantine)) == 2
    assert [entry["where"] for entry in quarantine.entries] == [2, 3, 5]
    assert quarantine.counts["malformed JSON"] == 1
    assert quarantine.entries[0]["file"] == str(file)


def test_what_a_person_must_mend_is_one_line(data, tmp_path, monkeypatch):
    file = tmp_path / "fewclue/bustm/train_0.json"
    file.parent.mkdir(parents=True)
    file.write_text('\n{"sentence1": "一", "sentence2": "二", "label": "maybe"}\n', "utf-8")
    (tmp_path / "clue/c3").mkdir(parents=True)
    (tmp_path / "clue/c3/c3-d-dev.json").write_text('{"no": "list"}', "utf-8")
    (tmp_path / "clue/c3/c3-d-test.json.gz").write_bytes(b"no gzip")
    monkeypatch.delenv("PANGU_DATA_DIR", raising=False)
    bad = [
        (
            lambda: only("fewclue/bustm", "train_0", tmp_path),
            r"train_0.json:2 has the label 'maybe', none of",
        ),
        (lambda: only("fewclue/bustm", "train_1", tmp_path), r"no split 'train_1' in .*; there are train_0$"),
        (lambda: only("lcsts", "test", tmp_path), r"lcsts: no split 'test' in .*; get it from http"),
        (lambda: only("clue/c3", "dev", tmp_path), r"cannot read .*c3-d-dev.json"),
        (lambda: only("clue/c3", "test", tmp_path), r"cannot read .*c3-d-test.json.gz"),
        (lambda: only("lcsts", "test", "/nowhere"), "there is no data folder /nowhere"),
        (lambda: only("lcsts", "test", None), "no data folder: set PANGU_DATA_DIR"),
        (lambda: benchmarks.get("fewclue/cecmmnt"), "no task 'fewclue/cecmmnt'; there are fewclue/eprstmt"),
        (lambda: guess(majority, benchmarks.get("ttnews"), data, "test", "test"), "free text"),
        (lambda: guess(chance, benchmarks.get("fewclue/eprstmt"), data, "unlabeled"), "not public"),
        (lambda: unlabelled(["lcsts"], tmp_path / "out", data), "no unlabelled texts of lcsts"),
        (lambda: unlabelled(["fewclue/x"], tmp_path / "out", data), "no task 'fewclue/x'"),
    ]
    for run, message in bad:
        with pytest.raises(DataError, match=message) as raised:
            run()
        assert "\n" not in str(raised.value)


def test_examples_without_an_agreed_label_are_passed_over(data):
    quarantine = Quarantine()
    assert len(only("clue/ocnli", "dev", data, quarantine)) == 1
    assert quarantine.noted == {"no label": 1}


@given(st.text(max_size=60), st.integers(1, 20), st.integers(1, 20))
def test_windows_hold_everything(text, length, stride):
    example = Example("7", {"passage": text, "question": "?"}, None, references=("a",))
    if stride > length:
        with pytest.raises(DataError, match="stride"):
            windows(example, length, stride, "passage")
        return
    parts = windows(example, length, stride, "passage")
    assert (parts == [example]) == (len(text) <= length)
    assert all(len(part.fields["passage"]) <= length for part in parts)
    assert all(origin(part.id) == "7" and part.references == ("a",) for part in parts)
    assert len({part.id for part in parts}) == len(parts)
    # Every stretch of length - stride + 1 characters is in some window whole.
    size = min(length - stride + 1, len(text))
    for begin in range(len(text) - size + 1):
        assert any(text[begin : begin + size] in part.fields["passage"] for part in parts)


def test_windows_are_counted():
    examples = [Example(str(n), {"passage": "字" * n}, None) for n in (3, 10, 25)]
    found = windowed(examples, 10, 5)
    assert (found.cut, found.added, len(found.examples)) == (1, 3, 6)
    with pytest.raises(DataError, match="no field 'text'"):
        windows(examples[0], 10, 5, "text")


@given(st.text(), st.sampled_from(["{s}很{answer}", "{answer}：{s}", "一{answer}{s}二", "{answer}"]))
def test_a_candidate_fills_the_gap(text, target):
    """Whatever the text holds, braces too, the parts are the whole template."""
    pattern = Pattern("p", ("x", "y"), target=target, words={"x": "好", "y": "坏"})
    query = pattern.render(Example("0", {"s": text}, "y"))
    for word, candidate in zip(("好", "坏"), query.candidates, strict=True):
        assert query.prefix + candidate == target.replace("{answer}", word).replace("{s}", text)
    assert query.answer == 1 and query.reference == query.candidates[1]


def test_entailment_asks_once_for_every_label(data):
    pattern = benchmarks.get("fewclue/eprstmt").patterns["entail"]
    queries = pattern.queries(Example("3", {"sentence": "坏了。"}, "Negative"))
    assert [query.inputs for query in queries] == ["坏了。\n顾客不满意，对吗？", "坏了。\n顾客很满意，对吗？"]
    assert [query.answer for query in queries] == [0, 1] and queries[0].candidates == ("对", "错")
    # Not which yes is likelier, but which yes against its no.
    assert pattern.chosen([np.array([-1.0, -0.5]), np.array([-2.0, -9.0])]) == 1
    with pytest.raises(DataError, match="use `queries`"):
        pattern.render(Example("3", {"sentence": "坏了。"}, None))


def test_demonstrations():
    pattern = Pattern("p", ("x", "y"), target="{s}：{answer}", words={"x": "甲", "y": "乙"}, shots=2)
    examples = [Example(str(n), {"s": f"例{n}"}, "xy"[n % 2]) for n in range(8)]
    asked = Example("?", {"s": "问"}, "x")
    query = pattern.with_demonstrations(examples).render(asked)
    lines = query.prefix.split("\n")
    assert lines[-1] == "问：" and query.candidates == ("甲", "乙")
    solved = dict(line.split("：") for line in lines[:-1])
    assert sorted(solved.values()) == ["乙", "乙", "甲", "甲"]
    assert all(solved[f"例{n}"] == "甲乙"[n % 2] for n in range(8) if f"例{n}" in solved)
    own = pattern.with_demonstrations(examples[:4])
    assert "例0：甲" not in own.render(examples[0]).prefix  # an example does not show its own answer
    assert pattern.with_demonstrations(examples, seed=1) != pattern.with_demonstrations(examples, seed=0)
    with pytest.raises(DataError, match="1 examples of 'y', and demonstrations need 2"):
        pattern.with_demonstrations(examples[:3])
    with pytest.raises(DataError, match="with_demonstrations"):
        pattern.render(asked)


def test_without_what_leaks(data):
    task = benchmarks.get("fewclue/eprstmt")
    left = [example.fields["sentence"] for example in task.examples("test_clean", data)]
    assert left == [text for text, _ in (benchmark_files.REVIEWS["test_public"][i] for i in (0, 2))]
    assert "test_clean" in task.splits(data)


def test_guessing(data):
    task = benchmarks.get("fewclue/eprstmt")
    assert guess(majority, task, data, "test_public", "train_0") == 50.0
    assert guess(majority, task, data, "test_public", "test_public") == pytest.approx(200 / 3)
    assert guess(majority, task, data, "train_0", "test_public") == pytest.approx(
        200 / 3
    )  # a draw: the first by name
    assert guess(chance, task, data, "test_public") == 50.0
    assert guess(chance, benchmarks.get("clue/c3"), data, "dev") == pytest.approx(100 / 3)
    assert guess(majority, benchmarks.get("clue/c3"), data, "dev", "dev") == 100.0
    assert guess(chance, benchmarks.get("dialogue/crosswoz"), data, "val") == 50.0


def test_unlabelled_holds_nothing_that_is_evaluated(data, tmp_path):
    report = unlabelled(["fewclue/eprstmt"], tmp_path, data)
    lines = [json.loads(line) for line in (tmp_path / FILE).read_text("utf-8").splitlines()]
    assert {line["source"]: line["text"] for line in lines} == {
        "fewclue/eprstmt/unlabeled": "包装完好，没有划痕",
        "reviews/hotels": "ChnSentiCorp_htl_all的东西不错，推荐",
        "reviews/takeaway": "waimai_10k的东西不错，推荐",
        "reviews/shopping": "online_shopping_10_cats的东西不错，推荐",
    }
    counts = report["sources"]
    assert counts["fewclue/eprstmt/unlabeled"]["same_as_evaluated"] == 1
    overlaps = [counts[f"reviews/{name}"]["overlaps"] for name in ("shopping", "takeaway", "hotels")]
    again = [counts[f"reviews/{name}"]["duplicates"] for name in ("shopping", "takeaway", "hotels")]
    assert sorted(overlaps) == [0, 0, 1] and sorted(again) == [0, 1, 1]
    assert report["texts"] == 4 and not report["missing"]
    # The control: what is evaluated elsewhere does not take anything away here.
    other = unlabelled(["fewclue/eprstmt"], tmp_path / "other", _without_test(data, tmp_path / "data"))
    assert other["texts"] == 6


def _without_test(data, folder):
    for path in [*(data / "reviews").rglob("*.csv"), data / "fewclue/eprstmt/unlabeled.json"]:
        copy = folder / path.relative_to(data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return folder


def test_check_tells_what_is_there(data, tmp_path):
    parse = VERBS["data check"].run
    flags = type("Flags", (), {"data_dir": str(data)})
    result = parse(flags)
    rows = {row["set"]: row for row in result.value}
    assert list(rows) == list(published.SETS) and result.status == 0
    assert rows["fewclue/eprstmt"]["splits"] == {"train_0": 2, "test_public": 3, "unlabeled": 2}
    assert rows["fewclue/eprstmt"]["derived"] == {"test_clean": 2}
    assert rows["fewclue/eprstmt"]["state"] == "partial" and "train_1" in rows["fewclue/eprstmt"]["absent"]
    assert rows["reviews/hotels"]["state"] == "present"
    assert rows["dialogue/crosswoz"]["passed_over"] == {"no label": 1}
    assert re.search(r"^clue/cmrc2018 +partial +dev 1$", result.text, re.MULTILINE)
    assert "absent: train, trial, test (https://github.com/ymcui/cmrc2018)" in result.text
    (tmp_path / "clue/c3").mkdir(parents=True)
    (tmp_path / "clue/c3/c3-m-dev.json").write_text("{", "utf-8")
    flags.data_dir = str(tmp_path)
    result = parse(flags)
    states = {row["set"]: row["state"] for row in result.value}
    assert states.pop("clue/c3") == "broken" and set(states.values()) == {"missing"}
    assert "problem: clue/c3: cannot read" in result.text and "32 missing" in result.text
    assert re.search(r"^lcsts +missing +get it from http://icrc", result.text, re.MULTILINE)


def test_evaluation_sets_lie_where_the_tasks_are_read_from():
    assert set(published.SETS) == {one.name for one in evaluation_sets.KNOWN}
    held_out = published.SETS["fewclue/eprstmt"].held_out
    assert "fewclue/eprstmt/test_public.json*" in held_out
    assert not any("train" in file or "unlabeled" in file for file in held_out)


def test_a_task_of_ones_own(data, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('like = "fewclue/tnews"\n[patterns.mine]\ntarget = "{sentence}——{answer}"\n', "utf-8")
    task = from_file("clue/tnews", file)
    (example,) = task.examples("dev", data)
    assert task.patterns["mine"].render(example).reference == "股票"
    for content, message in (
        ('kind = "quiz"', "kind = 'quiz' is not one of classification"),
        ('like = "fewclue/tnews"\ncolour = 1', "unknown 'colour'"),
        ('like = "fewclue/tnews"\n[patterns.a]\ntarget = "{sentence}"', "must hold {answer} once"),
        ('like = "fewclue/tnews"\n[patterns.a]\nwords = {100 = "故事"}', "no word for '101'"),
        ('like = "fewclue/tnews"\n[patterns.a]\ninputs = "{sentence.__class__}"', "is no name of a field"),
        (
            'like = "fewclue/tnews"\n[patterns.a]\nwords = {yes = "是", no = "否"}\n'
            'hypotheses = {100 = "对"}',
            "no statement for '101'",
        ),
        ('like = "fewclue/tnews"\n[derived.a]\nrule = "none"', "the rule of 'a' is not one of"),
        ("kind =", "cannot read the task"),
    ):
        file.write_text(content, "utf-8")
        with pytest.raises(DataError, match=message):
            from_file("clue/tnews", file)
    file.write_text('like = "fewclue/tnews"\n[patterns.a]\ninputs = "{title}"', "utf-8")
    with pytest.raises(DataError, match="has no field 'title', but sentence"):
        from_file("clue/tnews", file).patterns["a"].render(example)


def test_seqio_reads_a_task(data, small):
    import seqio

    name = register("fewclue/eprstmt", small.vocabulary, "ask", data)
    features = next(
        seqio.get_mixture_or_task(name)
        .get_dataset({"inputs": 256, "targets": 16}, split="train_0", shuffle=False)
        .as_numpy_iterator()
    )
    assert small.vocabulary.decode(features["inputs"]) == features["inputs_pretokenized"].decode()
    assert features["targets_pretokenized"].decode() == "好评"
    assert features["targets"].tolist() == [*small.vocabulary.encode("好评").tolist(), 1]
    with pytest.raises(DataError, match="no pattern 'none'; there are ask"):
        register("fewclue/eprstmt", small.vocabulary, "none", data)
