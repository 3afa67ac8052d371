"""Scores against the reference tools, published figures and cases worked out by hand."""

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pangu_jax.apps.language.benchmarks.metrics import classification, clue, intents, reading, rouge
from pangu_jax.errors import UserError

GOLDEN = json.loads(Path(__file__).with_name("rouge_golden.json").read_text(encoding="utf-8"))
DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[4] / "../shared/data")
CMRC2018 = DATA / "clue/cmrc2018/squad-style-data/cmrc2018_dev.json.gz"
TEXT = st.text("一二三ab 。", max_size=12)


def test_accuracy_and_macro_f1_by_hand() -> None:
    gold, predicted = list("aaaabbc"), list("aaabbac")
    assert classification.accuracy(predicted, gold) == pytest.approx(100 * 5 / 7)
    # a: precision 3/4, recall 3/4; b: 1/2, 1/2; c: 1, 1.
    assert classification.macro_f1(predicted, gold) == pytest.approx(100 * (0.75 + 0.5 + 1) / 3)
    assert classification.macro_f1(predicted, gold, labels=list("abcd")) == pytest.approx(100 * 2.25 / 4)
    with pytest.raises(UserError, match="6 predictions for 7"):
        classification.accuracy(predicted[:6], gold)


@pytest.mark.parametrize("name", rouge.NAMES)
def test_rouge_is_that_of_the_reference_tool(name: str) -> None:
    for row in GOLDEN:
        score = rouge.score(row["prediction"], row["reference"])[name]
        found = [score.recall, score.precision, score.f1]
        # The tool prints five digits, and rounds what the F1 is made of.
        assert found == pytest.approx([100 * value for value in row[name]], abs=2e-3), row


def test_rouge_golden_pairs_can_tell_the_paper_from_the_tool() -> None:
    """A control: where the tool leaves the paper, the golden file must show it."""
    same = next(row for row in GOLDEN if row["prediction"] == row["reference"] and len(row["reference"]) > 1)
    assert same["ROUGE-W-1.2"][0] < 0.7  # the paper: 1
    one = next(row for row in GOLDEN if row["prediction"] == row["reference"] == "一")
    assert one["ROUGE-SU4"] == [0, 0, 0] and one["ROUGE-1"] == [1, 1, 1]  # the paper: 1 for both
    assert any(0 < row["ROUGE-SU4"][2] < row["ROUGE-1"][2] for row in GOLDEN)


def test_rouge_of_a_set_means_cuts_and_counts() -> None:
    references = ["深度学习 模型", "模型"]
    found = rouge.evaluate(["深度学习模型", ""], references)
    assert found.scores["ROUGE-L"] == pytest.approx((50, 50, 50))  # white space is no token
    assert (found.pairs, found.empty, found.cut, found.split) == (2, 1, 0, rouge.SPLIT)
    assert found.mean == pytest.approx(sum(score.f1 for score in found.scores.values()) / 7)
    cut = rouge.evaluate(["深度学习模型", "模"], references, limit=2)
    assert cut.cut == 1 and cut.scores["ROUGE-1"].recall == pytest.approx(100 * (2 / 6 + 1 / 2) / 2)
    with pytest.raises(UserError, match="reference 2 is empty"):
        rouge.evaluate(["一", "二"], ["一", " \n"])
    with pytest.raises(UserError, match="1 predictions for 2 references"):
        rouge.evaluate(["一"], references)


@given(st.integers(1, 12), st.integers(1, 12))
def test_rouge_counts_a_repeat_as_often_as_the_reference_has_it(guessed: int, expected: int) -> None:
    """Text that loops has a low precision; by sets of n-grams, as rouge-chinese counts, it is perfect."""
    found = rouge.score("好" * guessed, "好" * expected)
    shared = min(guessed, expected)
    for name in ("ROUGE-1", "ROUGE-L"):
        assert found[name][:2] == pytest.approx((100 * shared / guessed, 100 * shared / expected))
    assert found["ROUGE-2"].precision == pytest.approx(
        100 * (shared - 1) / (guessed - 1) if guessed > 1 else 0
    )


@given(TEXT, TEXT.filter(str.strip))
def test_rouge_stays_within_0_and_100(prediction: str, reference: str) -> None:
    found = rouge.evaluate([prediction], [reference])
    assert all(0 <= value <= 100 + 1e-9 for score in found.scores.values() for value in score)
    assert (found.mean == 0) == (not set(rouge.characters(prediction)) & set(rouge.characters(reference)))


def test_lead_sentence() -> None:
    assert rouge.lead_sentence("提出协议PGAQ．实验表明有效。") == "提出协议PGAQ"
    assert rouge.lead_sentence(" 误差为3.5毫米，见v2.1.其后较小") == "误差为3.5毫米，见v2.1"
    assert rouge.lead_sentence("没有句号的文本", limit=4) == "没有句号"


def test_reading_by_the_rules_of_the_script() -> None:
    segments = ["iphone", "6s", "在", "201409", "发", "布", "2.5", "寸"]
    assert reading.segments("《iPhone 6s》在2014-09发布，2.5寸！") == segments
    assert reading.exact_match(" 光荣，和Ω-Force。", ["光荣和ω-force"]) == 1
    assert reading.exact_match("光荣", ["光荣和ω-force"]) == 0
    # The common run 二三 is 2 long; a subsequence or a bag of words would have 3.
    assert reading.overlap_f1("一二三", ["一四二三"]) == pytest.approx(2 * 2 / 7)
    assert reading.overlap_f1("一二三", ["四", "二三"]) == pytest.approx(2 * 2 / 5)  # best of two
    assert reading.overlap_f1("", ["四"]) == reading.overlap_f1("。", ["四"]) == 0


def test_reading_counts_the_unanswered_and_refuses_the_unknown() -> None:
    found = reading.evaluate({"q1": "四"}, {"q1": ["四"], "q2": ["五"]})
    assert found == (50, 50, 50, 2, 1)
    with pytest.raises(UserError, match="unknown questions, such as q3"):
        reading.evaluate({"q3": "四"}, {"q1": ["四"]})
    with pytest.raises(UserError, match="no reference answer"):
        reading.evaluate({}, {"q1": []})


@pytest.mark.skipif(not CMRC2018.is_file(), reason=f"no {CMRC2018} (set PANGU_DATA_DIR)")
def test_reading_on_the_answers_of_cmrc2018() -> None:
    articles = json.loads(gzip.decompress(CMRC2018.read_bytes()))["data"]
    questions = [q for article in articles for paragraph in article["paragraphs"] for q in paragraph["qas"]]
    references = {q["id"]: [answer["text"] for answer in q["answers"]] for q in questions}
    shorter = reading.evaluate({name: answers[0][1:] for name, answers in references.items()}, references)
    # The script's own figures on the same predictions, with its sentence splitter off.
    assert shorter[:2] == pytest.approx((7.020813917365642, 84.50906211936775))


def test_intents_by_hand() -> None:
    assert intents.parse(" b；a； ；a") == {"a", "b"} and intents.parse("") == frozenset()
    gold = [{"a"}, {"a", "b"}, {"c"}, set()]
    found = intents.evaluate([["a", "a"], {"a"}, {"a", "c"}, set()], gold)
    assert found == pytest.approx((50, 100 * 2 * 3 / 8, 75, 75, 4))
    assert intents.evaluate([set()], [set()])[:2] == (100, 100)
    assert intents.evaluate([set()], [{"a"}])[:4] == (0, 0, 0, 0)
    with pytest.raises(UserError, match="3 predictions for 4 turns"):
        intents.evaluate(gold[:3], gold)


def test_totals_are_the_published_ones() -> None:
    """PET in the FewCLUE paper's table, RoBERTa-wwm-large on CLUE's board."""
    pet = dict(eprstmt=86.7, csldcp=51.7, tnews=54.5, iflytek=46.0, ocnli=44.0, bustm=56.0)
    pet |= dict(csl=59.4, chid=61.2, cluewsc=57.5)
    assert round(clue.fewclue({f"fewclue/{task}": score for task, score in pet.items()}), 1) == 57.4
    scores = dict.fromkeys(("afqmc", "tnews", "iflytek", "cmnli", "cluewsc2020", "csl"), 72.83)
    scores |= dict.fromkeys(("cmrc2018", "chid", "c3"), 79.05)
    means = clue.classification(scores), clue.reading(scores), clue.total(scores)
    assert means == pytest.approx((72.83, 79.05, 74.90), abs=0.005)


def test_no_mean_without_a_task() -> None:
    scores = dict.fromkeys((*clue.CLASSIFICATION, *clue.READING, "ocnli"), 50.0)
    assert clue.total(scores | {"c3": 59.0}) == 51
    with pytest.raises(UserError, match="both"):
        clue.total(scores | {"cmnli": 1.0})
    some = {task: score for task, score in scores.items() if task not in ("tnews", "ocnli", "chid")}
    with pytest.raises(UserError, match="without tnews, ocnli, chid:"):
        clue.total(some)
    with pytest.raises(UserError, match="without tnews, ocnli:"):
        clue.classification(some)
    with pytest.raises(UserError, match="without chid:"):
        clue.reading(some)
    with pytest.raises(UserError, match="without csldcp"):
        clue.fewclue(dict.fromkeys(set(clue.FEWCLUE) - {"csldcp"}, 50.0))
