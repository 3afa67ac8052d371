"""Makes a vocabulary of any sentencepiece model, such as PanGu-alpha's, and of a byte-level BPE."""

from pathlib import Path

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary import tokenizer_files, tokenizer_json
from data_pipelines.text.vocabulary.as_published import is_published
from data_pipelines.text.vocabulary.model import Vocabulary
from data_pipelines.text.vocabulary.special_tokens import EOS, MODES, PAD, UNK, has_t5_ids


def content_of(source: str | Path) -> bytes:
    """What is kept of a vocabulary's file: all of it; of a tokenizer.json also what the files beside it say.

    Raises:
      DataError: it is a tokenizer.json that is not read.
      OSError: it cannot be read.
    """
    source = Path(source)
    if source.suffix == ".json":
        return tokenizer_files.of_tokenizer_json(source)
    content = source.read_bytes()
    if tokenizer_json.is_json(content) and not is_published(content):
        return tokenizer_files.of_tokenizer_json(source)
    return content


def adopt(source: str | Path, file: Path) -> np.ndarray:
    """Rewrites any sentencepiece model under the layout above, e.g. PanGu-alpha's (unk 0, bos 1, eos 2).

    The pieces keep their order and scores and move up behind the special tokens. A model that has T5's ids
    for pad, eos and unk, and one that keeps its published ids (`published`), is copied as it is: it belongs
    to weights that know them. A tokenizer.json keeps its ids, too.

    Returns:
      int32 [pieces of the new model]: the old id of every new id, -1 for ids that are new. It also says which
      rows of a released embedding go where.
    """
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    try:
        content = content_of(source)
    except OSError as error:
        raise DataError(f"cannot read the vocabulary {source}: {error.strerror}") from error
    if is_published(content):
        size = Vocabulary(source, content).size
        file.write_bytes(content)
        return np.arange(size, dtype=np.int32)
    try:
        old = sentencepiece_model_pb2.ModelProto.FromString(content)
    except Exception as error:  # protobuf's DecodeError is not importable from one place in all versions
        raise DataError(f"{source} is not a sentencepiece model") from error
    if not old.pieces:
        raise DataError(f"{source} is not a sentencepiece model: it holds no pieces")
    model = sentencepiece.SentencePieceProcessor(model_proto=old.SerializeToString())
    if has_t5_ids(model):
        file.write_bytes(content)
        return np.arange(len(old.pieces), dtype=np.int32)
    new = sentencepiece_model_pb2.ModelProto()
    new.CopyFrom(old)
    del new.pieces[:]
    by_piece = {piece.piece: i for i, piece in enumerate(old.pieces)}
    old_eos = by_piece.get(old.trainer_spec.eos_piece or "</s>", -1)
    old_unk = next((i for i, piece in enumerate(old.pieces) if piece.type == kinds.UNKNOWN), -1)
    old_ids = [by_piece.get("<pad>", -1), old_eos, old_unk]
    new.pieces.add(piece="<pad>", score=0, type=kinds.CONTROL)
    new.pieces.add(piece="</s>", score=0, type=kinds.CONTROL)
    new.pieces.add(piece="<unk>", score=0, type=kinds.UNKNOWN)
    for mode in MODES:
        new.pieces.add(piece=mode, score=0, type=kinds.CONTROL)
        old_ids.append(-1)
    taken = {"<pad>", "</s>", "<unk>", *MODES}
    if "\n" not in by_piece:  # Without it a newline would be unknown, or fold into a space.
        new.pieces.add(piece="\n", score=0, type=kinds.USER_DEFINED)
        old_ids.append(-1)
    for i, piece in enumerate(old.pieces):
        if i not in (old_eos, old_unk) and piece.piece not in taken:
            new.pieces.add().CopyFrom(piece)
            old_ids.append(i)
    trainer = new.trainer_spec
    trainer.pad_id, trainer.eos_id, trainer.unk_id, trainer.bos_id = PAD, EOS, UNK, -1
    trainer.pad_piece, trainer.eos_piece, trainer.unk_piece = "<pad>", "</s>", "<unk>"
    trainer.vocab_size = len(new.pieces)
    file.write_bytes(new.SerializeToString())
    return np.array(old_ids, np.int32)
