"""Raw text of many kinds, made up, with what a build must find in it."""

import json
import random

import pytest

from tests.corpus.prose import prose


@pytest.fixture(scope="package", autouse=True)
def cache(tmp_path_factory):
    """Tests leave the user's cache alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """A folder of two sources: 60 documents, of which 3 exact copies, 1 near copy, 2 too short, 1 English."""
    folder = tmp_path_factory.mktemp("raw")
    rng = random.Random(5)
    texts = [prose(rng) for _ in range(50)]
    near = texts[3].replace("。", "！", 1) + "\n另外还有一句不同的话。"
    odd = ["短。", "太短了。", "this is an english text about nothing at all. " * 20]
    rows = [*texts[:25], texts[1], near, *odd]
    with (folder / "news.jsonl").open("w") as out:
        for text in rows:
            out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        out.write("{broken\n")
    (folder / "books").mkdir()
    for i, text in enumerate([*texts[25:], texts[2], texts[30]]):
        (folder / "books" / f"{i:02d}.txt").write_text(text)
    (folder / "books" / "noise.txt").write_bytes(bytes(rng.randrange(256) for _ in range(5000)))
    return folder
