"""Vocabularies: a sentencepiece model under T5's conventions, with mode tokens and sentinels.

Layout of the ids: 0 pad, 1 eos, 2 unk, the mode tokens of UL2 and one for causal modelling, the newline, 256
bytes, the pieces, and last the 100 sentinels in falling order (`<extra_id_0>` is size - 1), as T5 and seqio
have it. Mode tokens are control symbols and sentinels are not in the model file at all, so no text is ever
encoded to one of them.

The vocabularies of T5 and mT5 are read with their ids as they are: they have no mode tokens, and mT5's
has its sentinels in the model file. What else one may have is in `added_tokens`. Those of openPangu and
PanGu-alpha keep the ids that they were published with (`published`): another start, end and padding. So does
a byte-level BPE of a tokenizer.json (`of_tokenizer_json`), whose pieces are cut by another library.
"""

from data_pipelines.text.vocabulary.added_tokens import AddedToken, PublishedIds
from data_pipelines.text.vocabulary.adopting import adopt
from data_pipelines.text.vocabulary.as_published import PANGU_ALPHA, original, published
from data_pipelines.text.vocabulary.model import Vocabulary
from data_pipelines.text.vocabulary.special_tokens import (
    EOS,
    MODES,
    PAD,
    SENTINELS,
    START,
    UNK,
    Modes,
    SpecialTokens,
)
from data_pipelines.text.vocabulary.tokenizer_files import of_tokenizer_json
from data_pipelines.text.vocabulary.training import train
from data_pipelines.text.vocabulary.word_starts import LONGEST_WORD

__all__ = [
    "EOS",
    "LONGEST_WORD",
    "MODES",
    "PAD",
    "PANGU_ALPHA",
    "SENTINELS",
    "START",
    "UNK",
    "AddedToken",
    "Modes",
    "PublishedIds",
    "SpecialTokens",
    "Vocabulary",
    "adopt",
    "of_tokenizer_json",
    "original",
    "published",
    "train",
]
