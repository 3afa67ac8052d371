"""Small sentencepiece models with the ids of published ones: none of theirs is in the repository."""

import functools
import io

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from data_pipelines.text.vocabulary import PublishedIds, Vocabulary, published
from tests.data.made_up import sentences

MARKS = (*(f"[unused{i}]" for i in range(34)), "<|User|>:", "<|Bot|>:")
FIRST_MARK = 40  # inside the vocabulary, as openPangu has them


@functools.cache
def openpangu(kind: str = "USER_DEFINED", model_type: str = "bpe") -> bytes:
    """unk (and padding) 0, <s> 1, </s> 2, marks among the pieces; dummy prefix, no NFKC, bytes."""
    model = io.BytesIO()
    text = [
        *(sentences(seed, 2) for seed in range(200)),
        "系统：用户：助手：工具：方法：问答你好",
        "hello world",
    ]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text * 2),
        model_writer=model,
        model_type=model_type,
        vocab_size=460,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["\n"],
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    pieces = list(proto.pieces)
    del proto.pieces[:]
    proto.pieces.extend(pieces[:FIRST_MARK])
    for mark in MARKS:
        proto.pieces.add(
            piece=mark, score=-1e4, type=getattr(sentencepiece_model_pb2.ModelProto.SentencePiece, kind)
        )
    proto.pieces.extend(pieces[FIRST_MARK:])
    proto.trainer_spec.vocab_size = len(proto.pieces)
    return proto.SerializeToString()


@functools.cache
def pangu_alpha() -> bytes:
    """unk 0, <s> 1, </s> 2, marks of newline and space, and <sep> to <eot> from 5 to 9."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(sentences(seed, 2) for seed in range(50)),
        model_writer=model,
        model_type="bpe",
        vocab_size=300,
        hard_vocab_limit=False,
        user_defined_symbols=["\u2583", "\u2582", "<sep>", "<pad>", "<mask>", "<eod>", "<eot>"],
        minloglevel=2,
    )
    return model.getvalue()


def end() -> int:
    """[unused10]."""
    return FIRST_MARK + 10


@functools.cache
def vocabulary(kind: str = "USER_DEFINED", model_type: str = "bpe") -> Vocabulary:
    """As an import keeps openPangu's."""
    return Vocabulary("tokenizer.model", published(openpangu(kind, model_type), PublishedIds(1, end(), 0)))
