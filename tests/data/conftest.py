"""One small corpus for all data tests, cached once a session."""

import json

import pytest

from data_pipelines.text.tasks.mixture import Corpus, corpus
from tests.data.made_up import sentences


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory):
    """120 documents of 1 to 40 sentences in a .jsonl, two .txt, and duplicates of ten of them."""
    folder = tmp_path_factory.mktemp("text")
    texts = [sentences(seed, 1 + seed % 40) for seed in range(120)]
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in [*texts, *texts[:10]]]
    (folder / "some.jsonl").write_text("\n".join(lines), "utf-8")
    (folder / "a.txt").write_text(f"{sentences(1000, 3)}\n第二段\n\n{sentences(1001, 30)}\n", "utf-8")
    (folder / "b.txt").write_text(f"Mixed text, ASCII 1998 & 👍。\n{sentences(1002, 9)}", "utf-8")
    return folder


@pytest.fixture(scope="session")
def small(text_folder, tmp_path_factory) -> Corpus:
    """The corpus of `text_folder` in windows of 64 + 32, prepared."""
    settings = corpus(
        path=str(text_folder),
        vocabulary_size=600,
        encoder_length=64,
        decoder_length=32,
        validation_fraction=0.1,
        cache_dir=str(tmp_path_factory.mktemp("cache")),
    )
    settings.prepare()
    return settings
