"""Windows for a decoder alone: no encoder, each document behind its start and before its vocabulary's end."""

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.text import baselines, packing
from data_pipelines.text import windows as text_windows
from data_pipelines.text.denoising import Causal, DenoisingExample, PrefixLM, SpanCorruption
from data_pipelines.text.synthetic import SyntheticTokens
from data_pipelines.text.tasks.mixture import corpus
from data_pipelines.text.vocabulary import PublishedIds, published
from tests.data import published_models

NAMES = ("input_tokens", "target_tokens", "loss_weights", "segment_ids", "positions")


@pytest.fixture(scope="module")
def settings(text_folder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("decoder")
    file = cache / "published.model"
    file.write_bytes(published(published_models.openpangu(), PublishedIds(1, published_models.end(), 0)))
    return corpus(
        path=str(text_folder),
        vocabulary_file=str(file),
        encoder_length=0,
        decoder_length=48,
        validation_fraction=0.1,
        cache_dir=str(cache),
    )


def test_batches_of_a_published_vocabulary(settings):
    codes = settings.vocabulary
    assert codes.special.eos == published_models.end() and codes.size == published_models.vocabulary().size
    assert settings.task_names == ("corpus_causal",)
    ended = 0
    task = settings.prepared.task("causal", "train")
    source = settings.train_source(4, seed=0)
    for batch in [
        source.batch(0),
        source.batch(3),
        *settings.validation_sources(4)["corpus_causal"].iterator(),
    ]:
        assert batch.keys() == {*(f"decoder_{name}" for name in NAMES), "task_id"}
        weights_BxT, segments_BxT = batch["decoder_loss_weights"], batch["decoder_segment_ids"]
        assert weights_BxT.dtype == np.float32 and np.array_equal(weights_BxT, segments_BxT > 0)
        for row, segments in enumerate(segments_BxT):
            for segment in range(1, segments.max() + 1):
                mine = segments == segment
                targets, read = (batch[f"decoder_{n}_tokens"][row][mine] for n in ("target", "input"))
                assert read.tolist() == [1, *targets[:-1]]
                assert batch["decoder_positions"][row][mine].tolist() == list(range(mine.sum()))
                assert codes.special.eos not in targets[:-1] and not {1, 2} & set(targets.tolist())
                ended += targets[-1] == codes.special.eos
            assert not batch["decoder_input_tokens"][row][segments == 0].any()
    assert ended > 4
    window = text_windows.parse(task.records[0])
    (piece, *_), row = window.pieces, task.window(task.records[0], np.random.default_rng(0))
    own = row["decoder_target_tokens"][row["decoder_segment_ids"] == 1]
    assert own.tolist() == [*piece.tokens, *([codes.special.eos] if piece.final else [])]
    assert settings.prepared.manifest["tasks"]["causal"]["decoder_fill"] > 0.8
    counted = batch["decoder_loss_weights"] > 0
    for found, name in zip(baselines.contexts(batch), ("target", "input"), strict=True):
        assert found.tolist() == batch[f"decoder_{name}_tokens"][counted].tolist()


def test_a_text_without_a_start_is_read_from_its_first_token():
    examples = [
        DenoisingExample(np.zeros(0, np.int32), np.array(t, np.int32)) for t in ([5, 6, 9], [7], [8, 9])
    ]
    row = packing.assemble(examples, 0, 6, start=-1)
    assert row["decoder_input_tokens"].tolist() == [5, 6, 8, 0, 0, 0]
    assert row["decoder_target_tokens"].tolist() == [6, 9, 9, 0, 0, 0]
    assert row["decoder_segment_ids"].tolist() == [1, 1, 3, 0, 0, 0]
    with_start = packing.assemble(examples, 0, 6, start=4)
    assert with_start["decoder_input_tokens"].tolist() == [4, 5, 6, 4, 4, 8]
    assert not any(name.startswith("encoder") for name in packing.empty(0, 6))


def test_random_tokens_without_an_encoder():
    batch = SyntheticTokens(50, encoder_length=0, decoder_length=8).train_source(2, 0).batch(1)
    assert batch.keys() == {*(f"decoder_{name}" for name in NAMES), "task_id"}


@pytest.mark.parametrize(
    ("objectives", "length", "said"),
    [
        ({"span": SpanCorruption(mode=None)}, 32, "'span' is SpanCorruption with mode None"),
        ({"c": Causal(mode=None), "p": PrefixLM()}, 32, "'p' is PrefixLM with mode '\\[S\\]'"),
        ({"causal": Causal()}, 32, "'causal' is Causal with mode '\\[C\\]'.* Causal.mode = None"),
        (None, 8, "encoder_length 0 and decoder_length 8 must be at least 16"),
    ],
)
def test_what_a_decoder_alone_cannot_learn(objectives, length, said):
    with pytest.raises(DataError, match=said):
        corpus(encoder_length=0, decoder_length=length, objectives=objectives)
