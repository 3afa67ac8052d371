"""A data folder in miniature: one file or two of every set, made up, in the format its owners publish."""

import csv
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.text.benchmarks import published

REVIEWS = {
    "train_0": [("物流很快，早上下单下午就到了", "Positive"), ("用了没几天就坏了，差", "Negative")],
    "test_public": [
        ("屏幕清晰而且电池耐用，送货的小哥态度也好，下次还会再来这家店买手机", "Positive"),
        ("耳机只响了一边，客服不理人", "Negative"),
        ("差", "Negative"),
    ],
}


def write(folder: Path) -> None:
    """Writes the folder."""
    for split, rows in REVIEWS.items():
        _lines(folder, "fewclue/eprstmt", split, [{"sentence": s, "label": label} for s, label in rows])
    seen = {"sentence": REVIEWS["test_public"][1][0]}
    _lines(folder, "fewclue/eprstmt", "unlabeled", [seen, {"sentence": "包装完好，没有划痕"}])
    labelled = {
        "fewclue/csldcp": {"content": "研究了混凝土的强度", "label": "土木工程"},
        "fewclue/tnews": {"sentence": "球队赢了", "label": 103, "label_desc": "news_sports"},
        "fewclue/iflytek": {"sentence": "一款打车软件", "label": 0, "label_des": "打车"},
        "fewclue/ocnli": {"sentence1": "他在跑", "sentence2": "他在动", "label": "entailment"},
        "fewclue/bustm": {"sentence1": "你好吗", "sentence2": "你还好吗", "label": "1"},
        "fewclue/chid": {"content": "他#idiom#地走了", "candidates": ["若无其事", "一言为定"], "answer": 0},
        "fewclue/csl": {"abst": "本文提出新方法", "keyword": ["方法", "新"], "label": "0"},
        "fewclue/cluewsc": _pronoun("树叶飘入了树林，他走来了", "树叶", "他", "false"),
        "clue/afqmc": {"sentence1": "怎么还款", "sentence2": "如何还款", "label": "1", "idx": 0},
        "clue/tnews": {"sentence": "股市大涨", "label": "114", "keywords": ""},
        "clue/iflytek": {"sentence": "记账软件", "label": "98"},
        "clue/cmnli": {"sentence1": "他在跑", "sentence2": "他在睡", "label": "contradiction"},
        "clue/ocnli": {"sentence1": "天黑了", "sentence2": "天亮着", "label": "contradiction"},
        "clue/cluewsc2020": _pronoun("小明说他累了", "小明", "他", "true"),
        "clue/csl": {"abst": "本文研究机器翻译", "keyword": ["机器翻译"], "label": "1", "id": 7},
        "ttnews": {"article": "第一段。<Paragraph>第二段。", "summarization": "两段话"},
    }
    for name, record in labelled.items():
        _lines(folder, name, _split(name), [record])
    _lines(folder, "clue/ocnli", "dev", [labelled["clue/ocnli"], labelled["clue/ocnli"] | {"label": "-"}])
    chid = {"content": ["他#idiom000001#地#idiom000002#", "无空"], "candidates": ["若无其事", "扬长而去"]}
    _lines(folder, "clue/chid", "dev", [chid])
    _write(folder / "clue/chid/dev_answer.json", {"#idiom000001#": 0, "#idiom000002#": 1})
    asked = {"question": "谁来了？", "choice": ["他", "她", "它"], "answer": "她"}
    _write(folder / "clue/c3/c3-d-dev.json", [[["男：她来了。", "女：嗯。"], [asked, asked], "1-2"]])
    _write(folder / "clue/c3/c3-m-dev.json", [[["她来了。"], [asked | {"answer": "谁"}, asked], "3-4"]])
    answers = [{"text": text, "answer_start": 0} for text in ("光荣", "光荣", "光荣公司")]
    questions = [{"question": "谁做的？", "id": "D_0", "answers": answers}]
    paragraph = {"id": "D", "context": "光荣公司做的", "qas": questions}
    squad = {"version": "v1.0", "data": [{"paragraphs": [paragraph]}]}
    _write(folder / "clue/cmrc2018/squad-style-data/cmrc2018_dev.json", squad)
    for name, target in (("ts", "新方法"), ("kg", "方法_新"), ("cls_ctg", "工学"), ("cls_dcp", "力学")):
        _text(folder / f"csl/{name}/dev.tsv", f"to it\t本文提出新方法\t{target}\n一格\n")
    pair = "<summary>\n短\n</summary>\n<short_text>\n长文\n</short_text>\n</doc>\n"
    scored = (f"<doc id={n}>\n<human_label>{score}</human_label>\n{pair}" for n, score in ((0, 5), (1, 2)))
    _text(folder / "lcsts/PART_III.txt", "".join(scored) + "<doc id=2>\n<summary>短</summary></doc>\n")
    _text(folder / "lcsts/PART_I.txt", f"<doc id=0>\n{pair}")
    asking = [
        ["Request", "餐馆", "名称", ""],
        ["Request", "餐馆", "电话", ""],
        ["Request", "酒店", "名称", ""],
    ]
    turns = [
        ("usr", "你好，推荐个餐馆和酒店", [["General", "greet", "none", "none"], *asking]),
        ("sys", "好的", []),
        ("usr", "嗯", []),
        ("usr", "谢谢", [["General", "thank", "none", "none"]]),
    ]
    messages = [{"role": role, "content": text, "dialog_act": acts} for role, text, acts in turns]
    (folder / "dialogue/crosswoz").mkdir(parents=True)
    with zipfile.ZipFile(folder / "dialogue/crosswoz/val.json.zip", "w") as archive:
        archive.writestr("val.json", json.dumps({"17": {"messages": messages}}))
    _text(folder / "dialogue/cais/test/ch.test", "我 O\n听 O\n歌 B-song\n\n冷 O\n吗 O\n")
    _text(folder / "dialogue/cais/test/ch.test.intent", "PlayMusic\nGetWeather\n")
    said = {"text": "打开微信", "domain": "app", "intent": "LAUNCH", "slots": {}}
    _write(folder / "dialogue/smp2019_nlu/train.json", [said, said | {"intent": float("nan")}, said])
    _text(
        folder / "dialogue/mix_multi_intent/MixATIS_clean/dev.txt",
        "show O\nflights O\nand O\nfares O\natis_flight#atis_airfare\n\nwhat O\ncity O\natis_city\n",
    )
    _text(folder / "dialogue/mix_multi_intent/MixSNIPS_clean/dev.txt", "play O\nit O\nPlayMusic\n\nplay O\n")
    for name in ("ChnSentiCorp_htl_all", "waimai_10k", "online_shopping_10_cats"):
        rows = [("1", f"{name}的东西不错，推荐"), ("1", "还说：" + REVIEWS["test_public"][0][0] + "！")]
        out = io.StringIO()
        csv.writer(out).writerows([("label", "review"), *rows])
        _text(folder / f"reviews/{name}/{name}.csv", out.getvalue())


def _split(name: str) -> str:
    return "test_public" if name.startswith("fewclue") else "test" if name == "ttnews" else "dev"


def _pronoun(text: str, noun: str, pronoun: str, label: str) -> dict[str, Any]:
    target = {"span1_text": noun, "span1_index": text.index(noun)}
    target |= {"span2_text": pronoun, "span2_index": text.index(pronoun)}
    return {"text": text, "target": target, "label": label}


def _lines(folder: Path, name: str, split: str, records: Sequence[Mapping[str, Any]]) -> None:
    here = published.SETS[name].splits[split][0].rstrip("*")
    _text(folder / here, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def _write(path: Path, value: Any) -> None:
    _text(path, json.dumps(value, ensure_ascii=False))


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
