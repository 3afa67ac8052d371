"""Small byte-level BPEs made by the library itself: no published one is in the repository."""

import functools
import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from data_pipelines.text.vocabulary import Vocabulary, of_tokenizer_json
from tests.data.made_up import sentences

BEGIN, END, PAD, NINE = "<s>", "[unused10]", "<pad>", "[unused9]"
OF_TURNS = ("[unused11]", "[unused12]", "[unused16]", "[unused17]")
MARKS = (BEGIN, END, PAD, NINE, *OF_TURNS, "<|User|>:")
# As Qwen's and Llama's: words with the space before them, single digits, then bytes.
CUT = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
SETTINGS = {"bos_token": BEGIN, "add_bos_token": True, "eos_token": {"content": END}, "pad_token": PAD}


def tokenizer(prefix_space: bool = False, alphabet: bool = True) -> Tokenizer:
    """Of Chinese and English. Its marks have the first ids, two runs of spaces the last: added, and text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(CUT, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    if prefix_space:  # RoBERTa's: before every part if something else cuts first
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    texts = [
        *(sentences(seed, 2) for seed in range(100)),
        "系统：用户：助手：你好",
        "hello world, how are you",
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=424,
        show_progress=False,
        special_tokens=list(MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else [],
    )
    made.train_from_iterator(texts * 2, trainer)
    made.add_tokens([AddedToken("    ", normalized=False), AddedToken("  ", normalized=False)])
    return made


@functools.cache
def written(prefix_space: bool = False) -> str:
    """Its tokenizer.json, with what transformers may leave in one: a limit, filling, a start."""
    made = tokenizer(prefix_space)
    made.enable_truncation(3)
    made.enable_padding(length=9, pad_token=PAD, pad_id=made.token_to_id(PAD))
    made.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, made.token_to_id(BEGIN))]
    )
    return made.to_str()


def plain(content: str) -> Tokenizer:
    """The library's own, without a limit and filling."""
    made = Tokenizer.from_str(content)
    made.no_truncation()
    made.no_padding()
    return made


def write(folder: Path, content: str | None = None, settings: dict[str, Any] | None = None) -> Path:
    """tokenizer.json and tokenizer_config.json in a folder; the path of the first."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(written() if content is None else content, "utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(SETTINGS if settings is None else settings), "utf-8"
    )
    return folder / "tokenizer.json"


def vocabulary(
    folder: Path, content: str | None = None, settings: dict[str, Any] | None = None
) -> Vocabulary:
    """As an import keeps it."""
    file = write(folder, content, settings)
    return Vocabulary(file.with_name("vocabulary.model"), of_tokenizer_json(file))


def changed(change, content: str | None = None) -> str:
    """A tokenizer.json after `change` of its entries: of `written()`, or of `content`."""
    theirs = json.loads(written() if content is None else content)
    change(theirs)
    return json.dumps(theirs)
