"""The rules by which Chinese is cleaned unless a recipe has others."""

from data_pipelines.corpus.cleaning.advertising import Advertising
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
from data_pipelines.corpus.cleaning.repetition import repetition_rules
from data_pipelines.corpus.cleaning.rules import Rule, configurable
from data_pipelines.corpus.cleaning.sensitive import SensitiveWords
from data_pipelines.corpus.cleaning.whole_text import (
    AlphanumericRatio,
    CharacterRepetition,
    HanRatio,
    TooLong,
    TooShort,
)
from data_pipelines.corpus.cleaning.words import NewLines, StopWords, WordLength, WordsWithLetters


@configurable
def chinese_rules(
    sensitive_words: str | None = None, quality_weights: str | None = None, personal_data: bool = True
) -> tuple[Rule, ...]:
    """PanGu-alpha's rules, FineWeb-2's for Chinese and Data-Juicer's, in an order that costs little.

    What would need memory without bound goes first, and what no edit can mend. Then edits, because filters
    should measure the text: markup before characters, which entities become, and traditional to simplified
    before keywords. Then filters, and the costly ones see only what the cheap ones left: counts of
    characters, lines, the language, and last words, whose segmentation costs as much as all the rest.
    Personal data is replaced in what is left.

    Every rule's settings can be bound by its name: `TooShort.least = 100`.

    Args:
      sensitive_words: see `SensitiveWords.path`; None does without.
      quality_weights: see `Quality.weights`; None does without.
      personal_data: whether personal data is replaced.
    """
    return (
        TooLong(),
        Mojibake(),
        Markup(),
        Unprintable(),
        CompatibilityForms(),
        WhiteSpace(),
        Simplified(),
        Advertising(),
        TooShort(),
        HanRatio(),
        AlphanumericRatio(),
        TitleOnly(),
        LineEnds(),
        BulletLines(),
        EllipsisLines(),
        DuplicateLines(),
        DuplicateLineCharacters(),
        CharacterRepetition(),
        Language(),
        *((SensitiveWords(sensitive_words),) if sensitive_words else ()),
        *((Quality(quality_weights),) if quality_weights else ()),
        NewLines(),
        WordLength(),
        WordsWithLetters(),
        StopWords(),
        *repetition_rules(),
        *((PersonalData(),) if personal_data else ()),
    )
