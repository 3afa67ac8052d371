"""Against transformers itself, where it is there: its loading of what was exported, and its tokenizers."""

import numpy as np
import pytest

from data_pipelines.pairs.word_pieces import SiglipVocabulary, WordPieceVocabulary
from pangu_jax.apps.multimodal.conversion import vocabularies
from pangu_jax.apps.multimodal.conversion.chinese_clip import CHINESE_CLIP
from pangu_jax.apps.multimodal.conversion.exporting import export_towers
from pangu_jax.apps.multimodal.conversion.importing import import_towers
from tests.apps.multimodal.conversion import golden, models
from tests.apps.multimodal.conversion.test_round_trip import ATOL, features

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXTS = (
    "红色的圆在左边",
    "两只Dogs 在跑, running!",
    "Café　的 狗\t\n狗",
    "[SEP] dogs [MASK]",
    "",
    "a Red circle: on the LEFT",
    "两只狗 a red，circle…",
    "  blue   square-above   a green_circle ",
)


@pytest.mark.prove
@pytest.mark.parametrize("kind", golden.KINDS)
def test_transformers_loads_what_was_exported(kind, tmp_path, proof):
    """And makes the same features of it, before and after."""
    made = golden.model_of(kind)
    made.save_pretrained(tmp_path / "source")
    models.write(kind, tmp_path / "beside")
    for name in ("preprocessor_config.json", "vocab.txt", "spiece.model"):
        if (tmp_path / "beside" / name).is_file():
            (tmp_path / "beside" / name).rename(tmp_path / "source" / name)
    import_towers(tmp_path / "source", tmp_path / "run")
    export_towers(tmp_path / "run", tmp_path / "out", shard_gb=1e-5)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    again = type(made).from_pretrained(tmp_path / "out").eval()
    expected, back = golden.features_of(made, kind), golden.features_of(again, kind)
    found = features(tmp_path / "run", golden.pictures(), golden.texts())
    for one, other, own in zip(expected, back, found, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(own, one, atol=ATOL)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(expected, found, strict=True))
    proof("largest difference of a feature", difference)


@pytest.mark.prove
def test_word_pieces_are_those_of_its_bert_tokenizer(tmp_path):
    models.write("chinese_clip", tmp_path / "model")
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path / "model")
    ours = WordPieceVocabulary((*models.SPECIAL, *models.WORDS))
    for text in TEXTS:
        defused = text.replace("[SEP]", "[ SEP ]").replace("[MASK]", "[ MASK ]")
        assert [*ours.encode(text), ours.end] == theirs(defused)["input_ids"], text
    theirs.save_pretrained(tmp_path / "again")  # version 5 writes no vocab.txt
    assert vocabularies.read(tmp_path / "again", CHINESE_CLIP, ours.size).file() == ours.file()


@pytest.mark.prove
def test_sentence_pieces_are_those_of_its_siglip_tokenizer(tmp_path):
    models.write("siglip", tmp_path / "model")
    theirs = transformers.SiglipTokenizer.from_pretrained(tmp_path / "model")
    ours = SiglipVocabulary(models.sentence_pieces())
    for text in TEXTS:
        assert [*ours.encode(text), ours.end] == theirs(text)["input_ids"], text
