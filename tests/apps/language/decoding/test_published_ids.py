"""A model with a published vocabulary: its own start and end, id 0 as a token, no rows beyond the ids."""

import jax
import numpy as np
import pytest

from data_pipelines.text import packing
from data_pipelines.text.benchmarks import Rendered
from data_pipelines.text.denoising import DenoisingExample
from pangu_jax.apps.language.decoding import encoding, filling, queries, samples, scoring
from pangu_jax.apps.language.decoding.generator import Generator
from pangu_jax.apps.language.decoding.queries import EMPTY, Query
from pangu_jax.apps.language.decoding.settings import Beam, Greedy, Sampling
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.errors import UserError
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from pangu_jax.workloads.language.model.forward import Forward
from tests.data import published_models

CODES = published_models.vocabulary()
ROWS = CODES.size + 40  # more than there are ids, as published tables have
CONFIG = DecoderConfig(vocab_size=ROWS, d_model=16, d_ff=16, heads=2, kv_heads=1, layers=2)
FORWARD = Forward(CONFIG)
NONE = np.zeros(0, np.int32)


@pytest.fixture(scope="module")
def params():
    drawn = jax.tree.map(lambda w: w * 2, architecture.init(CONFIG, jax.random.key(3)))
    rows = drawn["embedding"]
    # The rows beyond are the likeliest at once, so that a model without a mask would write little else.
    return drawn | {"embedding": rows.at[CODES.size :].multiply(3.0)}


@pytest.fixture(scope="module")
def loaded(params):
    return LoadedModel(CONFIG, params, CODES)


@pytest.fixture(scope="module")
def generator(params):
    return Generator.of(FORWARD, params, CODES)


def full_pass(params, query, written) -> np.ndarray:
    """fp32 logits after each token of a query's row and what is written, [T, V]."""
    row = np.array([[*query.decoder_row, *written]], np.int32)
    batch = {
        "decoder_input_tokens": row,
        "decoder_segment_ids": np.ones_like(row),
        "decoder_positions": np.arange(row.shape[1])[None],
    }
    return np.asarray(FORWARD.logits(params, FORWARD.decode(params, batch))[0])


def asked(*prefixes, start=1):
    return [Query(NONE, np.array(prefix, np.int32), start=start) for prefix in prefixes]


def test_rows_beyond_the_vocabulary_are_never_written(params, generator):
    each = asked([60, 61, 62], [70, 9, 80])
    greedy = generator.generate(each, Greedy(), 6)
    for query, text in zip(each, greedy, strict=True):
        logits = full_pass(params, query, text.tokens)[len(query.prefix) :]
        likeliest = logits[:, : CODES.size].argmax(axis=1)
        assert likeliest[: len(text.tokens)].tolist() == text.tokens.tolist()
        assert (logits.argmax(axis=1) >= CODES.size).any(), "or nothing was to be masked"
    searched = generator.several(each, Beam(beams=2), 6, 2)
    drawn = generator.several(each, Sampling(temperature=2.0), 6, 2)
    for texts in (*searched, *drawn):
        assert all((text.tokens < CODES.size).all() for text in texts)
    with pytest.raises(UserError, match=f"the vocabulary has {CODES.size}: ask for fewer beams"):
        generator.generate(each, Beam(beams=CODES.size // 2 + 1), 6)


def test_id_0_is_a_token_like_any_other(params, generator):
    """Unknown text has the id of padding: at the beginning, inside and at the end of a prompt."""
    each = asked([0, 60, 0, 61, 0], [70, 9, 80, 81, 82, 83, 84])
    together = generator.generate(each, Greedy(), 6)
    (alone,) = generator.generate(each[:1], Greedy(), 6)
    assert together[0].tokens.tolist() == alone.tokens.tolist()
    logits = full_pass(params, each[0], alone.tokens)[len(each[0].prefix) :][: len(alone.tokens)]
    assert logits[:, : CODES.size].argmax(axis=1).tolist() == alone.tokens.tolist()


def test_a_text_ends_at_its_own_end(params, generator):
    (query,) = asked([60, 61, 62])
    whole = Generator(FORWARD, params, ids=CODES.size, end=ROWS - 1).generate([query], Greedy(), 6)[0].tokens
    written, end = whole.tolist(), int(whole[2])
    other = Generator(FORWARD, params, ids=CODES.size, end=end)
    stopped = other.generate([query], Greedy(), 6)[0]
    assert stopped.tokens.tolist() == written[: written.index(end)] and stopped.finish == "end"
    assert generator.end == CODES.special.eos == published_models.end() and generator.ids == CODES.size


def test_a_history_begins_with_the_vocabularys_start():
    with_start, without = asked([5, 0], [7]), asked([5, 0], [7], start=-1)
    assert queries.histories(with_start, 3, 3).tolist() == [[1, 5, 0], [EMPTY, 1, 7], [EMPTY, EMPTY, 0]]
    assert queries.histories(without, 3, 2).tolist() == [[EMPTY, 5, 0], [EMPTY, EMPTY, 7]]
    with pytest.raises(UserError, match="query 3 is empty"):
        queries.check([*without, Query(np.ones(3, np.int32), start=-1)])


@pytest.mark.parametrize("start", [1, -1])
def test_scores_are_those_of_the_full_pass(params, start):
    candidates = tuple(np.array(c, np.int32) for c in ([9, 50], [9, 51, 52], [0]))
    queries_ = [query._replace(candidates=candidates) for query in asked([60, 0, 61], [70], start=start)]
    for query, found in zip(queries_, scoring.score(FORWARD, params, queries_), strict=True):
        for candidate, score in zip(candidates, found, strict=True):
            logits = full_pass(params, query, candidate[:-1])[-len(candidate) :]
            log_p = jax.nn.log_softmax(logits)[np.arange(len(candidate)), candidate]
            np.testing.assert_allclose(score, log_p.sum(), atol=1e-4)


def test_what_a_decoder_alone_is_asked(loaded):
    theirs = CODES.encode_prompt("[unused9]你好")
    found = loaded.query("[unused9]你好")
    assert (found.start, len(found.inputs)) == (1, 0) and found.prefix.tolist() == theirs.tolist()
    letters = loaded.query("[unused9]你好", sentinels=False)
    assert letters.prefix.tolist() == CODES.encode("[unused9]你好").tolist()
    with pytest.raises(UserError, match="mode \\[S\\]: this model is a decoder alone"):
        loaded.query("你好", "[S]")
    with pytest.raises(UserError, match="cannot fill gaps"):
        filling.query(loaded, "<extra_id_0>", "--text")
    rendered = Rendered("1", "今天的天气", "很", ("好", "不好"), 0, "好")
    query = encoding.query(loaded, rendered, ends=True)
    assert len(query.inputs) == 0 and query.prefix.tolist() == CODES.encode("今天的天气很").tolist()
    for candidate, text in zip(query.candidates, ("好", "不好"), strict=True):
        assert candidate[-1] == CODES.special.eos
        assert CODES.decode(candidate) == text and not CODES.piece(int(candidate[0])).startswith("▁")


@pytest.mark.parametrize("start", [1, -1])
def test_samples_go_on_from_the_first_half_of_a_text(start):
    texts = ([5, 0, 7, 8, 9], [6, 7, 8])
    examples = [DenoisingExample(NONE, np.array(text, np.int32)) for text in texts]
    row = packing.assemble(examples, 0, 12, start)
    prompts, references = samples._first_examples({name: x[None] for name, x in row.items()}, start)
    assert prompts[0].tolist() == [5, 0] and references[0].tolist() == [7, 8, 9]


def test_a_text_may_be_as_long_as_its_model_thinks(generator, monkeypatch):
    opened = []
    monkeypatch.setattr(generator, "_open", lambda *about: opened.append(about[2]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generator.generate(asked([60]), Greedy(), 32768)
    assert opened == [32768] and queries.round_up(32768) == 32768
    with pytest.raises(UserError, match="between 1 and 32768, got 32769"):
        generator.generate(asked([60]), Greedy(), 32769)
