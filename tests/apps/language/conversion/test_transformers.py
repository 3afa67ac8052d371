"""Against transformers itself: lengths beyond the golden file, and its loading of what was exported."""

import numpy as np
import pytest

from pangu_jax.apps.language.conversion.exporting import export_hugging_face
from pangu_jax.apps.language.conversion.importing import import_hugging_face
from tests.apps.language.conversion import golden
from tests.apps.language.conversion.test_round_trip import ATOL, computed

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LENGTHS = ((1, 1), (21, 7), (150, 40))  # the last beyond every bucket


@pytest.mark.prove
@pytest.mark.parametrize("kind", golden.KINDS)
def test_logits_equal_those_of_transformers_before_and_after(kind, tmp_path, spiece, mt5_spiece, proof):
    made = golden.model(kind)
    made.save_pretrained(tmp_path / "source")
    (tmp_path / "source" / "spiece.model").write_bytes(mt5_spiece if kind == "mt5" else spiece)
    import_hugging_face(tmp_path / "source", tmp_path / "run")
    export_hugging_face(tmp_path / "run", tmp_path / "out")
    again = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out").eval()
    assert again.dtype == torch.float32
    largest = 0.0
    for lengths in LENGTHS:
        given = golden.tokens(*lengths)
        logits_BxTxV, loss = golden.outputs(made, given)
        np.testing.assert_array_equal(golden.outputs(again, given)[0], logits_BxTxV)
        found_BxTxV, found = computed(tmp_path / "run", given)
        assert found == pytest.approx(loss, abs=ATOL)
        largest = max(largest, float(np.abs(found_BxTxV - logits_BxTxV).max()))
    assert largest <= ATOL
    proof(f"largest difference of a logit, {kind}", largest)


@pytest.mark.prove
@pytest.mark.parametrize("kind", golden.KINDS)
def test_its_tokenizer_reads_our_vocabulary(kind, tmp_path, spiece, mt5_spiece):
    from data_pipelines.text.vocabulary import Vocabulary

    golden.model(kind).save_pretrained(tmp_path / "source")
    (tmp_path / "source" / "spiece.model").write_bytes(mt5_spiece if kind == "mt5" else spiece)
    import_hugging_face(tmp_path / "source", tmp_path / "run")
    export_hugging_face(tmp_path / "run", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    codes = Vocabulary(tmp_path / "run" / "vocabulary.model")
    for text in ("我们研究语言,今天的天气。", "天气 1998"):
        assert theirs(text).input_ids == [*codes.encode(text).tolist(), 1]
    assert len(theirs) == codes.size
    sentinel = "▁<extra_id_7>" if kind == "mt5" else "<extra_id_7>"
    assert theirs.convert_tokens_to_ids(sentinel) == codes.special.sentinel(7)
