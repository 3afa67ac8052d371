"""What other tools make of the same Chinese text by the same rules, for `benchmarks/corpus.py`.

Peers have environments of their own (`pip install datatrove==0.10.1 jieba spacy regex`), so this file needs
nothing of
the library: in the peer's environment, `python -m benchmarks.corpus_peers TEXTS.jsonl` prints a JSON object.
Without an argument it has nothing to do.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

STOP_WORDS = list("的年在月是和日了於·為有被人中为他與後也而由")


def datatrove_filter() -> Callable[[str], str | None]:
    """FineWeb-2's filters for cmn_Hani, as its pipeline sets them: None keeps a text, else the rule that
    rejects it.

    Words by spaCy with jieba. Without the language filter, whose model is downloaded.
    """
    from datatrove.data import Document
    from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter

    filters = (
        GopherRepetitionFilter(
            language="cmn_Hani",
            dup_para_frac=0,
            dup_line_char_frac=0,
            dup_para_char_frac=0,
            dup_line_frac=0.287,
            top_n_grams=((2, 0.256), (3, 0.201), (4, 0.171)),
            dup_n_grams=((5, 0.198), (6, 0.182), (7, 0.167), (8, 0.154), (9, 0.14), (10, 0.127)),
        ),
        FineWebQualityFilter(
            language="cmn_Hani",
            short_line_thr=999,
            char_duplicates_ratio=0.1,
            line_punct_thr=0.106,
            new_line_ratio=0.178,
        ),
        GopherQualityFilter(
            language="cmn_Hani",
            min_avg_word_length=1,
            max_avg_word_length=5,
            max_non_alpha_words_ratio=0.735,
            stop_words=STOP_WORDS,
            min_stop_words=2,
        ),
    )

    def judge(text: str) -> str | None:
        document = Document(text=text, id="")
        for rule in filters:
            verdict = rule.filter(document)
            if verdict is not True:
                return verdict[1]
        return None

    return judge


def same_rules() -> tuple:
    """This library's rules with the same thresholds, on raw text: no edits, nothing before them."""
    from data_pipelines.corpus import cleaning

    return (
        cleaning.DuplicateLines(),
        *cleaning.repetition_rules(),
        cleaning.LineEnds(),
        cleaning.DuplicateLineCharacters(),
        cleaning.NewLines(),
        cleaning.WordLength(),
        cleaning.BulletLines(marks="•-"),
        cleaning.EllipsisLines(),
        cleaning.WordsWithLetters(),
        cleaning.StopWords(),
    )


def measure(texts: Sequence[str], judge: Callable[[str], str | None]) -> dict[str, float | dict[str, int]]:
    """MB of UTF-8 per CPU-second, after loading dictionaries; and what became of the texts, by rule."""
    judge("今天天气很好，我们在学习。" * 5)
    size = sum(len(text.encode()) for text in texts)
    start = time.process_time()
    verdicts = [judge(text) for text in texts]
    seconds = time.process_time() - start
    fates = Counter(verdict or "kept" for verdict in verdicts)
    return {"megabytes_per_cpu_second": size / 1e6 / seconds, "megabytes": size / 1e6, "fates": dict(fates)}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        lines = Path(sys.argv[1]).read_text("utf-8").splitlines()
        print(
            json.dumps(
                measure([json.loads(line)["text"] for line in lines], datatrove_filter()), ensure_ascii=False
            )
        )
    else:
        print("give a .jsonl file of texts, in the environment of the peer")
