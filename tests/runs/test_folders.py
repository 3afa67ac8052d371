"""Folders that are there whole or not at all: what stands beside them stays."""

from pathlib import Path

import pytest

from pangu_jax.errors import UserError
from pangu_jax.runs.exchange import folders


def fill(folder, overwrite=False, text="new"):
    with folders.made(folder, "--out", overwrite) as unfinished:
        (unfinished / "file").write_text(text)


def test_what_stands_beside_stays(tmp_path):
    (tmp_path / "model.old").mkdir()
    (tmp_path / "model.old" / "mine").write_text("mine")
    fill(tmp_path / "model", text="first")
    fill(tmp_path / "model", overwrite=True)
    assert (tmp_path / "model" / "file").read_text() == "new"
    assert (tmp_path / "model.old" / "mine").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.old"]
    with pytest.raises(UserError, match="not empty"):
        fill(tmp_path / "model")


def test_the_old_one_is_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    fill(tmp_path / "model", text="first")
    rename = Path.rename

    def refused(self, target):
        if self.name == "model.partial":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(UserError, match="free the disk"):
        fill(tmp_path / "model", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "file").read_text() == "first"


def test_a_name_that_nothing_has(tmp_path):
    (tmp_path / "model.refused").mkdir()
    assert folders.aside(tmp_path / "model", "refused") == tmp_path / "model.refused-2"
    assert folders.aside(tmp_path / "other", "refused") == tmp_path / "other.refused"
