"""Trains a vocabulary on lines of text."""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary.special_tokens import EOS, MODES, PAD, SENTINELS, UNK


def train(lines: Iterable[str], size: int, file: Path) -> None:
    """Trains a unigram vocabulary of `size` ids in all and writes it to `file`; deterministic.

    Text is kept as it is (no NFKC, which would turn Chinese punctuation into ASCII; no dummy prefix;
    newlines and runs of spaces survive), digits are split, unseen characters become bytes.

    Raises:
      DataError: the text is too small for that many pieces, or there is none.
    """
    import sentencepiece

    lines = list(lines)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=size - SENTINELS,
            character_coverage=_coverage(lines, size),
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            byte_fallback=True,
            split_digits=True,
            max_sentencepiece_length=8,
            seed_sentencepiece_size=10 * size,
            pad_id=PAD,
            eos_id=EOS,
            unk_id=UNK,
            bos_id=-1,
            control_symbols=list(MODES),
            user_defined_symbols=["\n"],
            hard_vocab_limit=False,
            num_threads=2,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][-200:]
        raise DataError(
            f"cannot train a vocabulary of {size} ids: {reason} (lower corpus.vocabulary_size?)"
        ) from error
    file.write_bytes(model.getvalue())


def _coverage(lines: Sequence[str], size: int) -> float:
    """Share of the text whose characters become pieces: .9995, less if they would fill half the vocabulary.

    Characters beyond it are spelt in bytes, so a small vocabulary still has room for words.
    """
    counts = np.array(sorted(Counter("".join(lines)).values(), reverse=True))
    within = counts[: size // 2].sum() / max(counts.sum(), 1)
    return float(np.clip(within, 0.5, 0.9995))
