"""ByT5's vocabulary in the form of all others: a sentencepiece model whose only pieces are bytes.

Ids: 0 pad, 1 eos, 2 unk, byte + 3. ByT5 was pretrained with the last of these as sentinels, 258 downwards
(byte 255 is `<extra_id_0>`). Bytes from 245 on are in no UTF-8 text, so that so many sentinels are no text.
"""

from collections.abc import Sequence

from data_pipelines.text.vocabulary.added_tokens import AddedToken, Additions, written

BYTES = 256
IDS = 3 + BYTES
SENTINELS = BYTES - 245


def content(spare: int, tokens: Sequence[AddedToken] = ()) -> bytes:
    """The model file.

    Args:
      spare: ids behind the bytes that no text is read as; what ByT5's tokenizer calls its extra ids.
      tokens: that were added behind these.
    """
    from sentencepiece import sentencepiece_model_pb2

    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    proto = sentencepiece_model_pb2.ModelProto()
    proto.pieces.add(piece="<pad>", score=0, type=kinds.CONTROL)
    proto.pieces.add(piece="</s>", score=0, type=kinds.CONTROL)
    proto.pieces.add(piece="<unk>", score=0, type=kinds.UNKNOWN)
    for byte in range(BYTES):
        proto.pieces.add(piece=f"<0x{byte:02X}>", score=0, type=kinds.BYTE)
    # sentencepiece wants a piece that is text; this one is id 259, which ByT5 has a row for.
    proto.pieces.add(piece="<spare>", score=0, type=kinds.UNUSED)
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    trainer.model_type, trainer.byte_fallback = trainer.UNIGRAM, True
    trainer.vocab_size = len(proto.pieces)
    trainer.pad_id, trainer.eos_id, trainer.unk_id, trainer.bos_id = 0, 1, 2, -1
    trainer.pad_piece, trainer.eos_piece, trainer.unk_piece = "<pad>", "</s>", "<unk>"
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = False
    return written(
        proto.SerializeToString(),
        Additions(IDS - 1, SENTINELS, tuple(tokens), each_begins=False, byte_ids=IDS + spare),
    )
