"""Cleaning for Chinese: rules that edit texts or reject documents, and what applies them to a chunk.

A rule is a frozen dataclass with a name (`rules`); every class of one is known to gin. `chinese_rules` is the
list of them that recipes start from, `clean` applies a list to a table of documents, `clean_chunk` to a file.
"""

from data_pipelines.corpus.cleaning.advertising import Advertising
from data_pipelines.corpus.cleaning.chinese import chinese_rules
from data_pipelines.corpus.cleaning.cleaner import Cleaned, clean, clean_chunk
from data_pipelines.corpus.cleaning.language import Language
from data_pipelines.corpus.cleaning.lines import (
    BulletLines,
    DuplicateLineCharacters,
    DuplicateLines,
    EllipsisLines,
    LineEnds,
    TitleOnly,
)
from data_pipelines.corpus.cleaning.markup import Markup
from data_pipelines.corpus.cleaning.mojibake import Mojibake
from data_pipelines.corpus.cleaning.normalise import CompatibilityForms, Simplified, Unprintable, WhiteSpace
from data_pipelines.corpus.cleaning.personal_data import PersonalData
from data_pipelines.corpus.cleaning.quality import Quality
from data_pipelines.corpus.cleaning.quality_training import train_quality
from data_pipelines.corpus.cleaning.repetition import DuplicateNgrams, TopNgram, repetition_rules
from data_pipelines.corpus.cleaning.rules import Edit, Edited, Filter, Histogram, Rule, Verdict, configurable
from data_pipelines.corpus.cleaning.sensitive import SensitiveWords
from data_pipelines.corpus.cleaning.whole_text import (
    AlphanumericRatio,
    CharacterRepetition,
    HanRatio,
    TooLong,
    TooShort,
)
from data_pipelines.corpus.cleaning.words import NewLines, StopWords, WordLength, WordsWithLetters

__all__ = [
    "Advertising",
    "AlphanumericRatio",
    "BulletLines",
    "CharacterRepetition",
    "Cleaned",
    "CompatibilityForms",
    "DuplicateLineCharacters",
    "DuplicateLines",
    "DuplicateNgrams",
    "Edit",
    "Edited",
    "EllipsisLines",
    "Filter",
    "HanRatio",
    "Histogram",
    "Language",
    "LineEnds",
    "Markup",
    "Mojibake",
    "NewLines",
    "PersonalData",
    "Quality",
    "Rule",
    "SensitiveWords",
    "Simplified",
    "StopWords",
    "TitleOnly",
    "TooLong",
    "TooShort",
    "TopNgram",
    "Unprintable",
    "Verdict",
    "WhiteSpace",
    "WordLength",
    "WordsWithLetters",
    "chinese_rules",
    "clean",
    "clean_chunk",
    "configurable",
    "repetition_rules",
    "train_quality",
]
