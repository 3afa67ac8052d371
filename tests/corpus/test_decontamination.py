"""Decontamination: nothing shared stays, nothing else goes."""

import dataclasses
import json
import lzma
import os
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.corpus import decontamination, evaluation_sets, frames, letters, overlap
from data_pipelines.corpus.decontamination import Decontamination
from data_pipelines.errors import DataError
from data_pipelines.text.documents import Document

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[2] / "../shared/data")
HAN = [chr(0x4E00 + i) for i in range(3000)]
TRICKY = "ＡΣςİẞﬁ①㎡½ｶﾞが각ㄱㅏé́\uffff\u2028 \n_。"


def text(seed: int, length: int) -> str:
    return "".join(random.Random(seed).choices(HAN, k=length))


def table(*texts: str) -> pl.DataFrame:
    rows = [(str(i), "web", None, own) for i, own in enumerate(texts)]
    return pl.DataFrame(rows, schema=frames.SCHEMA, orient="row")


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    """An index of 40 texts of 100 letters, 10 of 20, one of 13 and one of 12, and their list."""
    folder = tmp_path_factory.mktemp("exam")
    texts = [*(text(i, 100) for i in range(40)), *(text(100 + i, 20) for i in range(10)), text(200, 13)]
    lines = [json.dumps({"question": own}, ensure_ascii=False) for own in [*texts, text(201, 12)]]
    (folder / "exam.jsonl").write_text("\n".join(lines), "utf-8")
    settings = Decontamination(sets=(), more={"exam": str(folder / "*.jsonl")})
    out = folder / "index"
    out.mkdir()
    facts = decontamination.build_index(settings, out)
    assert facts["evaluation_sets"]["exam"] == {
        "files": 1,
        "examples": 52,
        "texts": 52,
        "undecidable": 1,
        "published": "",
    }
    return decontamination.read_index(out), texts


def wide(own: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in own)


@pytest.mark.parametrize(
    "disguise",
    [str, wide, str.upper, "，".join, " \t".join, "\n".join, "\n\n——".join, lambda own: f"《{own}》"],
    ids=["none", "wide", "case", "punctuation", "spaces", "lines", "paragraphs", "brackets"],
)
def test_every_overlap_of_30_letters_is_found_and_none_of_29(disguise, tmp_path):
    originals = [text(i, 40) + f"Pangu{i}alpha" + text(1000 + i, 40) for i in range(20)]
    (tmp_path / "x.txt").write_text("\n".join(originals), "utf-8")
    decontamination.build_index(Decontamination(sets=(), more={"x": str(tmp_path / "x.txt")}), tmp_path)
    index = decontamination.read_index(tmp_path)
    rng = random.Random(0)
    for length, expected in ((30, 1), (29, 0), (61, 1)):
        documents = []
        for i in range(60):
            own = letters.of(originals[i % 20])
            begin = rng.randrange(len(own) - length + 1)
            edges = text(5000 + i, 50), text(6000 + i, 50)
            documents.append(f"{edges[0]}\n{disguise(own[begin : begin + length])}\n{edges[1]}")
        hits = decontamination.touched(table(*documents)["text"], index)
        assert hits["row"].n_unique() == 60 * expected
        left, statistics = decontamination.remove(table(*documents), index)
        removed = [f"{text(5000 + i, 50)}\n{text(6000 + i, 50)}" for i in range(60)]
        assert left["text"].to_list() == (removed if expected else documents)
        assert len(statistics["found"].get("x", ())) == 20 * expected


def test_short_texts_must_stand_whole(exam):
    index, texts = exam
    edges = text(300, 20)
    whole = table(*(edges + own + edges for own in texts[40:]))
    left, statistics = decontamination.remove(whole, index)
    assert len(left) == 0 and len(statistics["found"]["exam"]) == 11
    parts = table(*(edges + own[:-1] + edges for own in texts[40:]), edges + text(201, 12) + edges)
    assert decontamination.remove(parts, index)[0].equals(parts)


def test_the_lines_an_overlap_touches_go_and_no_other(exam):
    index, texts = exam
    own = texts[3]
    frame = table(f"前文。\n{own[:20]}\n，\n{own[20:40]}后文\n留下", f"{own[10:45]}", "无关").with_columns(
        cluster_size=pl.Series([5, 6, 7], dtype=pl.UInt32)
    )
    left, statistics = decontamination.remove(frame, index)
    assert left.select("id", "text", "cluster_size").rows() == [("0", "前文。\n留下", 5), ("2", "无关", 7)]
    assert frame["text"][1] == own[10:45]
    sizes = [frames.text_bytes(frame), frames.text_bytes(left)]
    assert statistics == {
        "documents_in": 3,
        "documents_out": 2,
        "bytes_in": sizes[0],
        "bytes_out": sizes[1],
        "sources": {
            "web": {
                "documents_in": 3,
                "documents_out": 2,
                "bytes_in": sizes[0],
                "bytes_out": sizes[1],
                "rejected": {"evaluation_overlap": [1, sizes[0] - sizes[1]]},
            }
        },
        "evaluation_sets": {"exam": {"documents": 2, "paragraphs": 4, "characters": 20 + 1 + 22 + 35}},
        "found": {"exam": {"exam.jsonl:4": 4}},
    }
    whole, statistics = decontamination.remove(frame, index._replace(remove="document"))
    assert whole["id"].to_list() == ["2"]
    assert statistics["sources"]["web"]["rejected"] == {"evaluation_overlap": [2, sizes[0] - len("无关") * 3]}


def test_lines_that_become_neighbours_are_looked_at_again(exam):
    index, texts = exam
    frame = table(f"留下\n{texts[0][:25]}\n{texts[1]}\n{texts[0][25:50]}")
    left, statistics = decontamination.remove(frame, index)
    assert left["text"].to_list() == ["留下"]
    assert statistics["found"]["exam"] == {"exam.jsonl:1": 2, "exam.jsonl:2": 1}


@given(st.data())
def test_a_second_pass_finds_nothing(exam, data):
    index, texts = exam
    piece = st.builds(
        lambda own, begin, length: own[begin : begin + length],
        st.sampled_from(texts[:3]),
        st.integers(0, 70),
        st.integers(1, 60),
    )
    line = st.lists(piece | st.just("的"), max_size=3).map("".join)
    documents = data.draw(st.lists(st.lists(line, max_size=6).map("\n".join), min_size=1, max_size=4))
    left, _ = decontamination.remove(table(*documents), index)
    again, statistics = decontamination.remove(left, index)
    assert again.equals(left) and not statistics["found"]
    # By hand: no 30 letters in a row are left.
    grams = {own[i : i + 30] for own in texts[:3] for i in range(len(own) - 29)}
    for own in map(letters.of, left["text"]):
        assert not any(own[i : i + 30] in grams for i in range(len(own) - 29))


def test_equal_hashes_remove_nothing(exam, monkeypatch, tmp_path):
    """With a hash that is the same for all, every letter of every document is compared, and none is taken."""
    _, texts = exam
    monkeypatch.setattr(overlap, "_MULTIPLIER", 1 << 63)
    overlap.write(texts[:5], 30, 13, tmp_path)
    index = overlap.read(tmp_path)
    assert len(set(index.seeds.tolist())) < len(index.seeds)
    shuffled = "".join(random.Random(0).sample(texts[0], 100))
    assert not len(overlap.find(pl.Series([shuffled, text(999, 400)]), index))
    assert overlap.find(pl.Series(["", shuffled, texts[0][7:50]]), index)["row"].unique().to_list() == [2]


def test_places_are_exact_in_large_tables(exam, monkeypatch):
    index, texts = exam
    monkeypatch.setattr(letters, "_BLOCK_BYTES", 1000)
    monkeypatch.setattr(overlap, "_TILE", 64)
    monkeypatch.setattr(overlap, "_PAIRS", 3)
    documents = [text(400 + i, i) for i in range(90)]
    documents[50] += texts[5][:40]
    documents[89] = texts[6] + texts[7]
    found = overlap.find(pl.Series(documents), index.overlap)
    spans = found.group_by("row", "text").agg(pl.col("begin").min(), pl.col("end").max()).sort("row", "begin")
    assert spans.rows() == [(50, 5, 50, 90), (89, 6, 0, 100), (89, 7, 100, 200)]


@given(st.lists(st.text(st.sampled_from(TRICKY) | st.characters(exclude_categories=["Cs"]), max_size=12)))
def test_letters_of_many_are_those_of_each(texts):
    series = pl.Series(texts, dtype=pl.String)
    assert list(letters.strings(series)) == [letters.of(own) for own in texts]
    digests = [Document("", own).digest() for own in texts]
    assert letters.places(series).tolist() == [int(d, 16) / 16**32 if d else 1 for d in digests]


def test_every_code_point_has_the_letter_of_its_own():
    points = [chr(point) for point in range(0x40000) if not 0xD800 <= point < 0xE000]
    table = letters.table()
    for point in points:
        if point != "\uffff" and table[ord(point)] <= letters.END:
            own = table[ord(point)]
            assert (chr(own) if own else "") == letters.of(point), hex(ord(point))


def test_the_stage_writes_what_is_left_and_what_was_rejected(exam, tmp_path):
    _, texts = exam
    settings = Decontamination(sets=(), more={"exam": str(tmp_path / "e.txt")})
    (tmp_path / "e.txt").write_text("\n".join(texts), "utf-8")
    folders = [tmp_path / name for name in ("one", "two", "out")]
    for folder in folders:
        folder.mkdir()
    for folder in folders[:2]:
        decontamination.build_index(settings, folder)
    files = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders[:2]]
    assert files[0] == files[1]
    frame = table(f"前\n{texts[0]}", "好")
    frame.write_ipc(tmp_path / "in.arrow")
    statistics = decontamination.decontaminate(tmp_path / "in.arrow", folders[0], out=folders[2])
    assert json.loads(json.dumps(statistics)) == statistics
    assert frames.read(folders[2] / frames.DOCUMENTS)["text"].to_list() == ["前", "好"]
    rejected = frames.read(folders[2] / "rejected.arrow")
    assert rejected.rows() == [("0", "web", None, texts[0], "exam")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shortest": 31}, r"shortest = 31 must be .* not above Decontamination\.characters = 30"),
        ({"remove": "word"}, "'word' is not one of paragraph, document"),
        ({"sets": ("fewclu/",)}, "'fewclu/' is none of fewclue/eprstmt, "),
        ({"more": {"clue/c3": "x"}}, "'clue/c3' is a known set already"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(DataError, match=message) as error:
        Decontamination(**settings)
    assert "\n" not in str(error.value)


def test_bad_files(tmp_path):
    def build(**settings):
        decontamination.build_index(Decontamination(data_dir=str(tmp_path), **settings), tmp_path)

    with pytest.raises(DataError, match=r"'mine' = .* must name files, all \.jsonl or all \.txt"):
        build(more={"mine": str(tmp_path / "nothing*")})
    with pytest.raises(DataError, match="there is no folder /nowhere: set PANGU_DATA_DIR"):
        decontamination.build_index(Decontamination(data_dir="/nowhere"), tmp_path)
    (tmp_path / "fewclue" / "tnews").mkdir(parents=True)
    for name, content in (("dev_0.json", b"{"), ("dev_1.json.xz", lzma.compress(b"{}")[:-9])):
        file = tmp_path / "fewclue" / "tnews" / name
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"fewclue/tnews: cannot read .*dev_.*get it anew from") as error:
            build()
        assert "\n" not in str(error.value)
        file.unlink()


def test_without_a_data_folder_all_known_sets_are_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("PANGU_DATA_DIR", raising=False)
    facts = decontamination.build_index(Decontamination(), tmp_path)
    assert not facts["evaluation_sets"] and len(facts["missing"]) == len(evaluation_sets.KNOWN)
    frame = table(text(0, 50))
    assert decontamination.remove(frame, decontamination.read_index(tmp_path))[0].equals(frame)


@pytest.mark.skipif(not (DATA / "fewclue").is_dir(), reason=f"no {DATA}/fewclue (set PANGU_DATA_DIR)")
def test_real_evaluation_text_planted_into_documents(tmp_path):
    settings = Decontamination(data_dir=str(DATA), sets=("fewclue/",))
    facts = decontamination.build_index(settings, tmp_path)
    index = decontamination.read_index(tmp_path)
    assert len(facts["evaluation_sets"]) == 9 and not facts["missing"]
    rng = random.Random(1)
    planted, names = [], []
    for one in settings.chosen():
        own = [texts for _, texts in one.examples(one.found(DATA)[-1])]
        for texts in rng.sample(own, 30):
            long = [t for t in texts if len(letters.of(t)) >= settings.shortest]
            planted += long
            names += [one.name] * len(long)
    assert len(planted) > 200
    frame = table(*(f"{text(i, 60)}。\n{own}\n{text(900 + i, 60)}" for i, own in enumerate(planted)))
    left, statistics = decontamination.remove(frame, index)
    kept = [f"{text(i, 60)}。\n{text(900 + i, 60)}" for i in range(len(planted))]
    assert left["text"].to_list() == kept
    for name in facts["evaluation_sets"]:
        assert statistics["evaluation_sets"][name]["documents"] >= names.count(name)
    assert decontamination.remove(left, index)[0].equals(left)


@pytest.mark.skipif(not (DATA / "clue").is_dir(), reason=f"no {DATA}/clue (set PANGU_DATA_DIR)")
def test_every_file_there_is_read():
    """The other layouts: nested JSON, tables, tagged words, archives."""
    for one in evaluation_sets.KNOWN:
        if one.name.startswith(("fewclue/", "reviews/shopping")) or not (files := one.found(DATA)):
            continue
        examples = [texts for file in files for _, texts in one.examples(file)]
        assert len(examples) > 500
        assert sum(len(own) for texts in examples for own in texts) > 5 * len(examples)


def test_published_forms_that_are_not_at_hand(tmp_path):
    (tmp_path / "lcsts").mkdir()
    (tmp_path / "lcsts" / "PART_III.txt").write_text(
        "<doc id=0>\n    <human_label>5</human_label>\n    <summary>\n        摘要\n    </summary>\n"
        "    <short_text>\n        正文\n    </short_text>\n</doc>\n",
        "utf-8",
    )
    (tmp_path / "clue" / "chid_public").mkdir(parents=True)
    (tmp_path / "clue" / "chid_public" / "test.json").write_text(
        json.dumps({"content": ["前#idiom000003#后", "另"], "candidates": []}), "utf-8"
    )
    read = {
        one.name: [texts for file in one.found(tmp_path) for _, texts in one.examples(file)]
        for one in evaluation_sets.KNOWN
        if one.found(tmp_path)
    }
    assert read == {"lcsts": [["摘要", "正文"]], "clue/chid": [["前", "后", "另"]]}


def test_settings_are_a_value():
    assert dataclasses.replace(Decontamination(), characters=13) == Decontamination(characters=13)
