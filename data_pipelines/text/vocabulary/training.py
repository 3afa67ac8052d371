"""Trains a vocabulary on lines of text, and says what it made of them."""

import dataclasses
import io
import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.text.lines import LONGEST_LINE, within
from data_pipelines.text.vocabulary.special_tokens import EOS, MODES, PAD, SENTINELS, UNK

# Ids that are no pieces of the text: sentinels, pad, eos, unk, mode tokens, the newline and 256 bytes.
RESERVED = SENTINELS + 3 + len(MODES) + 1 + 256
FEWEST_PIECES = 16
# Share of a text whose characters become pieces, and how much of the room for pieces they may take.
COVERAGE, MOST_OF_ROOM = 0.99998, 5 / 8
# sentencepiece writes unknown characters so, and leaves out a line that has one of itself.
_THEIR_UNKNOWN = "\u2585"


@dataclasses.dataclass(frozen=True)
class VocabularyTraining:
    """What a vocabulary was made of.

    Attributes:
      ids: how many it has, sentinels included.
      asked: how many it was to have; a text with little in it gives fewer.
      characters: of the lines given.
      pieces_of_one: different characters that are pieces.
      in_bytes: characters of the lines that are not, and are spelt in bytes.
    """

    ids: int
    asked: int
    characters: int
    pieces_of_one: int
    in_bytes: int


def train(lines: Iterable[str], size: int, file: Path, of: Iterable[str] = ()) -> VocabularyTraining:
    """Trains a unigram vocabulary of `size` ids in all and writes it to `file`; deterministic.

    Text is kept as it is (no NFKC, which would turn Chinese punctuation into ASCII; no dummy prefix;
    newlines and runs of spaces survive), digits are split, unseen and rare characters become bytes.

    Every line is learnt from, however long it is and whatever is in it: sentencepiece is given it in parts
    that it takes.

    Args:
      of: the texts that the lines are a sample of: which characters become pieces is decided by these, so
        that one is no byte for being where the sample is not.

    Raises:
      DataError: the size leaves no room for pieces, or there is no text.
    """
    import sentencepiece

    if size < RESERVED + FEWEST_PIECES:
        raise DataError(
            f"corpus.vocabulary_size {size} leaves no room for text: {RESERVED} ids are bytes, sentinels and "
            f"other special tokens; set it to {RESERVED + FEWEST_PIECES} or more, 8192 for ordinary text"
        )
    lines = list(lines)
    counts = Counter("".join(lines))
    of_text: Counter[str] = Counter()
    for text in of:
        of_text.update(text)
    alphabet = _alphabet(of_text or counts, size)
    if not alphabet & counts.keys():
        raise DataError("there is no text to train a vocabulary on: the documents hold no letters")
    to_bytes = {ord(character): "\n" for character in counts.keys() - alphabet}
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=itertools.chain(
                sorted(alphabet - counts.keys()),
                (
                    part
                    for line in lines
                    for run in line.translate(to_bytes).split("\n")
                    for part in within(run)
                ),
            ),
            model_writer=model,
            model_type="unigram",
            vocab_size=size - SENTINELS,
            # Of what it is given, which has no other characters: below .98 it refuses to do it itself.
            character_coverage=1.0,
            max_sentence_length=LONGEST_LINE,
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
        reason = str(error).strip().splitlines()[-1][-80:]
        raise DataError(
            f"cannot train a vocabulary of {size} ids: {reason} (try another corpus.vocabulary_size)"
        ) from error
    file.write_bytes(model.getvalue())
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return VocabularyTraining(
        ids=trained.get_piece_size() + SENTINELS,
        asked=size,
        characters=counts.total() - counts["\n"],
        pieces_of_one=len(alphabet),
        in_bytes=sum(counts[chr(code)] for code in to_bytes.keys() - {ord("\n")}),
    )


def _alphabet(counts: Counter[str], size: int) -> set[str]:
    """The characters that become pieces: the most frequent ones, up to `COVERAGE` of the text, and fewer if
    they would take more than `MOST_OF_ROOM`: so a small vocabulary still has room for words."""
    most = int(MOST_OF_ROOM * (size - RESERVED))
    ordered = sorted(counts.keys() - {"\n", _THEIR_UNKNOWN}, key=lambda c: (-counts[c], c))
    wanted, total, covered = COVERAGE * sum(counts[c] for c in ordered), 0, []
    for character in ordered[:most]:
        if total >= wanted:
            break
        covered.append(character)
        total += counts[character]
    return set(covered)
