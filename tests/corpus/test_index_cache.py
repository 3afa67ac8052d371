"""The cached index of evaluation sets: the same as one made anew, never out of date, never fatal."""

import json

import pytest

from data_pipelines.corpus import decontamination, index_cache
from data_pipelines.corpus.decontamination import Decontamination


@pytest.fixture
def built(tmp_path, monkeypatch):
    """Builds the index of a set of one text in a new folder: (its files and facts, "made" or "fetched")."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    exam = tmp_path / "exam.txt"
    made, make = [], decontamination._build_index
    monkeypatch.setattr(decontamination, "_build_index", lambda *own: made.append(0) or make(*own))

    def build(text="云想衣裳花想容春风拂槛露华浓", **settings):
        exam.write_text(text, "utf-8")
        out = tmp_path / f"index-{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        before = len(made)
        chosen = Decontamination(sets=(), more={"exam": str(exam)}, **settings)
        facts = decontamination.build_index(chosen, out)
        files = {path.name: path.read_bytes() for path in out.iterdir()}
        return (files, facts), "made" if len(made) > before else "fetched"

    return build


def entries():
    return [path for path in index_cache.folder().iterdir() if path.is_dir()]


def test_a_second_build_fetches_the_same_index(built):
    first, second = built(), built()
    assert (first[1], second[1]) == ("made", "fetched")
    assert second[0] == first[0] and set(first[0][0]) == set(decontamination._FILES)


@pytest.mark.parametrize(
    "change", [{"text": "云想衣裳花想容春风拂槛露华浓。若非群玉"}, {"characters": 31}, {"remove": "document"}]
)
def test_other_content_or_settings_make_another_index(built, change):
    built()
    assert built(**change)[1] == "made"
    assert built()[1] == "fetched" and len(entries()) == 2


def test_other_code_makes_another_index(built, tmp_path, monkeypatch):
    built()
    code = tmp_path / "code.py"
    code.write_text("")
    module = type(index_cache)("code")
    module.__file__ = str(code)
    monkeypatch.setattr(decontamination, "_code", lambda: [module])
    assert built()[1] == "made"


@pytest.mark.parametrize("name", [*decontamination._FILES, "facts.json", "sums.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_entry_is_made_again(built, name, damage):
    whole, _ = built()
    (entry,) = entries()
    content = (entry / name).read_bytes()
    if damage == "gone":
        (entry / name).unlink()
    else:
        (entry / name).write_bytes(content[:-3] if damage == "cut" else bytes([content[0] ^ 1]) + content[1:])
    assert built() == (whole, "made")
    assert built() == (whole, "fetched")


@pytest.mark.parametrize("content", ["[]", "null", json.dumps({"index.json": 1})])
def test_sums_of_another_form_are_damage_too(built, content):
    whole, _ = built()
    (entry,) = entries()
    (entry / "sums.json").write_text(content)
    assert built() == (whole, "made")


def test_a_cache_that_cannot_be_written_is_done_without(built, tmp_path):
    (tmp_path / "cache").write_text("a file in the place of the folder")
    assert built()[1] == built()[1] == "made"


def test_only_the_entries_used_last_are_kept(built):
    for i in range(index_cache.KEPT + 2):
        built(text=f"云想衣裳花想容春风拂槛露华浓第{i}首")
    assert len(entries()) == index_cache.KEPT
    assert built(text=f"云想衣裳花想容春风拂槛露华浓第{index_cache.KEPT + 1}首")[1] == "fetched"
