"""Whatever is drawn: objectives lose no text, respect words and sentinels, and stay within their bounds."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.text import packing
from data_pipelines.text.denoising import Causal, Piece, PrefixLM, SpanCorruption
from data_pipelines.text.vocabulary import SpecialTokens

SPECIAL = SpecialTokens({"[R]": 3, "[S]": 4, "[X]": 5, "[C]": 6}, first_sentinel=999)
FIRST_TEXT_ID = 10
UL2 = [(3, 0.15), (8, 0.15), (3, 0.5), (8, 0.5), (64, 0.15), (64, 0.5)]
SPANS = [SpanCorruption(rate, mean) for mean, rate in UL2]


def piece_of(words: list[int], final: bool = True) -> Piece:
    """A piece whose words have these lengths."""
    starts = np.zeros(sum(words), bool)
    starts[np.cumsum([0, *words[:-1]]) if words else []] = True
    return Piece(np.arange(FIRST_TEXT_ID, FIRST_TEXT_ID + len(starts), dtype=np.int32), starts, final)


pieces = st.lists(st.integers(1, 6), max_size=120).map(piece_of)
seeds = st.integers(0, 2**32 - 1)


def restore(inputs: np.ndarray, targets: np.ndarray) -> list[int]:
    """The text again: every sentinel of the inputs replaced by what follows it in the targets."""
    first_sentinel = SPECIAL.first_sentinel - SPECIAL.sentinels + 1
    spans: dict[int, list[int]] = {}
    current: list[int] = []
    for token in targets.tolist():
        if token >= first_sentinel:
            current = spans.setdefault(token, [])
        elif token != SPECIAL.eos:
            current.append(token)
    restored = []
    for token in inputs.tolist()[1:]:
        restored += spans[token] if token >= first_sentinel else [token]
    return restored


@given(pieces, seeds, st.sampled_from(SPANS))
def test_spans_reconstruct_on_word_boundaries_within_the_bound(piece, seed, objective):
    (example,) = objective([piece], np.random.default_rng(seed), SPECIAL, 10_000, 10_000)
    assert restore(*example) == piece.tokens.tolist()
    assert example.inputs[0] == SPECIAL.modes["[R]"] and example.targets[-1] == SPECIAL.eos

    sentinels = [t for t in example.inputs.tolist() if t > SPECIAL.first_sentinel - SPECIAL.sentinels]
    assert sentinels == [SPECIAL.sentinel(i) for i in range(len(sentinels))]

    spans = objective.spans(piece, np.random.default_rng(seed))
    boundaries = {*np.flatnonzero(piece.word_starts).tolist(), len(piece.tokens)}
    assert {edge for span in spans for edge in span} <= boundaries
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))

    longest = int(np.diff([*np.flatnonzero(piece.word_starts), len(piece.tokens)]).max(initial=1))
    noise, _ = objective.budget(len(piece.tokens))
    assert noise - longest < sum(end - begin for begin, end in spans) <= noise
    encoder, decoder = objective.cost(len(piece.tokens), longest)
    assert len(example.inputs) <= encoder and len(example.targets) <= decoder


@pytest.mark.parametrize("objective", SPANS, ids=str)
def test_rate_and_mean_span(objective):
    rng = np.random.default_rng(0)
    spans, tokens = [], 0
    for _ in range(200):
        piece = piece_of(rng.choice([1, 1, 1, 2, 2, 3], 250).tolist())
        spans += [end - begin for begin, end in objective.spans(piece, rng)]
        tokens += len(piece.tokens)
    assert sum(spans) / tokens == pytest.approx(objective.rate, rel=0.03)
    assert np.mean(spans) == pytest.approx(objective.mean_span, rel=0.25)


def test_spans_lie_everywhere():
    rng = np.random.default_rng(0)
    corrupted = np.zeros(200)
    for _ in range(3000):
        for begin, end in SpanCorruption().spans(piece_of([1] * 200), rng):
            corrupted[begin:end] += 1
    # A span ends where the text does, so the outermost tokens are in fewer of them.
    assert corrupted[5:-5] / 3000 == pytest.approx(0.15, abs=0.05)
    assert corrupted.min() / 3000 > 0.03


def test_more_spans_than_sentinels():
    objective = SpanCorruption(rate=0.5, mean_span=1)  # 200 spans, if there were sentinels for them
    (example,) = objective([piece_of([1] * 400)], np.random.default_rng(0), SPECIAL, 2000, 2000)
    assert (example.inputs >= 900).sum() == SPECIAL.sentinels
    assert restore(*example) == list(range(FIRST_TEXT_ID, FIRST_TEXT_ID + 400))


@pytest.mark.parametrize(
    "words", [[], [1], [2], [9]], ids=["empty", "one token", "one word", "one long word"]
)
@pytest.mark.parametrize(
    "objective", [SpanCorruption(), PrefixLM(), Causal()], ids=lambda o: type(o).__name__
)
def test_tiny_pieces(objective, words):
    (example,) = objective([piece_of(words)], np.random.default_rng(0), SPECIAL, 64, 32)
    text = [t for t in [*example.inputs.tolist(), *example.targets.tolist()] if 10 <= t < 900]
    assert sorted(text) == list(range(FIRST_TEXT_ID, FIRST_TEXT_ID + sum(words)))
    assert example.targets[-1] == SPECIAL.eos


@given(st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=30), min_size=1, max_size=12), seeds)
def test_a_joint_split_fits_and_reconstructs(words, seed):
    objective = PrefixLM()
    group = []
    for lengths in words:  # as many as a window takes
        piece = piece_of(lengths, final=len(lengths) % 2 == 0)
        costs = np.sum([objective.cost(len(p.tokens), 6) for p in [*group, piece]], axis=0)
        if np.all(costs <= objective.capacity(64, 32)):
            group.append(piece)
    if not group:
        return
    examples = objective(group, np.random.default_rng(seed), SPECIAL, 64, 32)
    packing.assemble(examples, 64, 32)  # raises if they do not fit
    for piece, (inputs, targets) in zip(group, examples, strict=True):
        rest = targets[:-1] if piece.final else targets
        assert [*inputs[1:], *rest] == piece.tokens.tolist()
        assert len(inputs) >= 2 and len(rest) >= 1
        assert (targets[-1] == SPECIAL.eos) == piece.final


def test_splits_vary_even_in_a_full_window():
    group = [piece_of([1] * 46), piece_of([1] * 46)]  # 46 + 46 + 4 = 64 + 32
    rng = np.random.default_rng(0)
    splits = [len(PrefixLM()(group, rng, SPECIAL, 64, 32)[0].inputs) - 1 for _ in range(200)]
    assert len(set(splits)) > 15


@given(
    st.lists(st.lists(st.integers(1, 16), min_size=1, max_size=150), min_size=1, max_size=12),
    seeds,
    st.sampled_from([*SPANS, PrefixLM(), Causal()]),
)
def test_every_planned_window_fits_whatever_is_drawn(documents, seed, objective):
    docs = [piece_of(words) for words in documents]
    cuts = [c for i, doc in enumerate(docs) for c in packing.cut(i, doc.word_starts, objective, 64, 32)]
    covered = {(c.document, token) for c in cuts for token in range(c.begin, c.end)}
    assert len(covered) == sum(c.end - c.begin for c in cuts)
    missing = sum(len(doc.tokens) for doc in docs) - len(covered)
    assert missing <= len(docs) * (objective.shortest - 1)

    costs = [objective.cost(c.end - c.begin, c.longest_word) for c in cuts]
    plan = packing.plan(np.array(costs), objective.capacity(64, 32))
    assert sorted(i for window in plan for i in window) == list(range(len(cuts)))
    rng = np.random.default_rng(seed)
    for window in plan:
        members = [
            Piece(docs[d].tokens[b:e], docs[d].word_starts[b:e], e == len(docs[d].tokens))
            for d, b, e, _ in (cuts[i] for i in window)
        ]
        row = packing.assemble(objective(members, rng, SPECIAL, 64, 32), 64, 32)
        assert row["decoder_loss_weights"].sum() >= 1
