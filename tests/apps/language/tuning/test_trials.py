"""Every method learns what the base does not know, from what it may change alone, by one compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.apps.language.decoding import trie_forward
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.scoring import score
from pangu_jax.apps.language.tuning.base import InMemoryBase
from pangu_jax.apps.language.tuning.examples import Labelled, TaskRows, rows, with_prompt
from pangu_jax.apps.language.tuning.lora import LoRA
from pangu_jax.apps.language.tuning.measuring import measure
from pangu_jax.apps.language.tuning.methods import FineTuning, Head, size
from pangu_jax.apps.language.tuning.prompts import PrefixTuning, PromptTuning
from pangu_jax.apps.language.tuning.settings import Fit, OptimizerSpec, Tuning
from pangu_jax.apps.language.tuning.trials import Trials
from pangu_jax.apps.language.tuning.workload import TunedLanguageModel
from pangu_jax.errors import UserError
from pangu_jax.workloads.language.model.forward import Forward
from tests.apps.language.tuning import toy

METHODS = {
    "fine-tuning": (FineTuning(), 1e-2),
    "head": (Head("decoder_last", alone=True), 3e-2),
    "prompt": (PromptTuning(2, reparametrised=True), 3e-2),
    "prefix": (PrefixTuning(2), 1e-1),
    "lora": (LoRA(2, targets=("qkv", "query", "out")), 2e-2),
}
STEPS = 80


def trials(name="fine-tuning", evaluate_every=40, patience=0) -> Trials:
    method, rate = METHODS[name]
    fit = Fit(OptimizerSpec(learning_rate=rate), STEPS, evaluate_every=evaluate_every, patience=patience)
    return Trials(toy.MODEL, toy.base(), Tuning(method), fit, toy.SHAPE)


def accuracy(params, name="fine-tuning") -> float:
    tuning = Tuning(METHODS[name][0])
    return measure(toy.MODEL, params, toy.texts(200, 3), tuning, toy.SHAPE).accuracy


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_what_the_base_does_not_know(name):
    method, _ = METHODS[name]
    base = toy.base()
    before = jax.tree.map(np.array, base)
    tuned = trials(name)(toy.texts(64, 4))
    assert 35 < accuracy(base) < 65
    assert accuracy(tuned.params, name) > 90
    jax.tree.map(np.testing.assert_array_equal, base, before)  # the caller's, not given up
    if name == "prompt":
        rows_VxD = tuned.params["embedding"][: toy.MODEL.vocab_size]
        np.testing.assert_array_equal(rows_VxD, base["embedding"])
    if name in ("prefix", "head"):  # the base is there to the bit, and something beside it
        kept = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tuned.params)}
        for path, leaf in jax.tree.leaves_with_path(base):
            np.testing.assert_array_equal(kept.pop(jax.tree_util.keystr(path)), leaf)
        assert sum(leaf.size for leaf in kept.values()) == size(tuned.trainable)
    if name != "head":  # decoding and scoring take the parameters as they are
        asked = with_prompt(toy.MODEL, toy.texts(8, 3), method.prompt)
        scores = score(Forward(toy.MODEL), tuned.params, [example.query for example in asked])
        here = measure(toy.MODEL, tuned.params, asked, shape=toy.SHAPE).scores
        np.testing.assert_allclose(np.stack(scores), here, atol=1e-4)


def test_trials_share_one_program_and_shuffled_labels_teach_nothing():
    run = trials()
    results = [run(toy.texts(64, split, shuffled=True), seed=split) for split in (4, 5, 5)]
    assert run.programs == 1
    assert all(30 < accuracy(tuned.params) < 70 for tuned in results)
    jax.tree.map(np.testing.assert_array_equal, results[1].params, results[2].params)
    assert not np.array_equal(results[0].params["embedding"], results[1].params["embedding"])


def test_the_best_step_on_dev_is_kept_and_patience_stops():
    told = []
    dev = toy.texts(32, 6)
    tuned = trials(evaluate_every=5, patience=2)(toy.texts(64, 4), dev, on_row=told.append)
    assert tuned.history == told
    assert told[-1]["step"] < STEPS or told[-1]["step"] == tuned.step
    best = min(told, key=lambda row: (-row["dev_accuracy"], row["dev_loss"]))
    assert tuned.step == best["step"]
    found = measure(toy.MODEL, tuned.params, dev, shape=toy.SHAPE)
    assert found.accuracy == best["dev_accuracy"]


@pytest.mark.parametrize("name", ["head", "prompt", "prefix", "lora"])
def test_only_what_learns_has_optimizer_state(name):
    method, _ = METHODS[name]
    rows_ = TaskRows.of(toy.texts(4, 4), shape=toy.SHAPE)
    workload = TunedLanguageModel(InMemoryBase(toy.MODEL, toy.base()), Tuning(method), rows_, 5, 2)
    variables = jax.eval_shape(workload.start, jax.random.key(0), workload.given())
    optimizer = workload.optimizer(Fit(steps=5).made())
    state = jax.eval_shape(optimizer.transformation.init, variables.params)
    arrays = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
    assert sum(leaf.size for leaf in arrays) == 2 * size(variables.params)
    assert size(variables.params) < size(variables.constants) / 10


def test_a_merged_difference_is_the_difference_beside_the_weight():
    random = np.random.default_rng(0)
    method = LoRA(2, alpha=6.0, targets=("qkv", "out"))
    trainable, frozen = method.prepare(toy.MODEL, toy.base(), jax.random.key(0), 2)
    start = method.merge(toy.MODEL, trainable, frozen)
    jax.tree.map(np.testing.assert_array_equal, start, frozen)  # B is zero
    trainable = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), jnp.float32), trainable)
    merged = method.merge(toy.MODEL, trainable, frozen)["encoder"]["attention"]
    own, pair = frozen["encoder"]["attention"], trainable["encoder"]["attention"]
    x_TxD = random.normal(size=(3, toy.MODEL.d_model)).astype(np.float32)
    beside = jnp.tensordot(x_TxD @ pair["qkv"]["left"][0], pair["qkv"]["right"][0], 1) * 3.0
    by_weight = jnp.tensordot(x_TxD, own["qkv"][0], 1)
    np.testing.assert_allclose(jnp.tensordot(x_TxD, merged["qkv"][0], 1), by_weight + beside, atol=1e-4)
    x_TxHxK = random.normal(size=(3, 2, 8)).astype(np.float32)
    low_TxR = jnp.einsum("thk,rhk->tr", x_TxHxK, pair["out"]["right"][0])
    beside = low_TxR @ pair["out"]["left"][0].T * 3.0
    by_weight = jnp.einsum("thk,dhk->td", x_TxHxK, own["out"][0])
    got = jnp.einsum("thk,dhk->td", x_TxHxK, merged["out"][0])
    np.testing.assert_allclose(got, by_weight + beside, atol=1e-4)
    changed = method.merge(toy.MODEL, trainable, frozen)
    np.testing.assert_array_equal(changed["embedding"], frozen["embedding"])
    np.testing.assert_array_equal(
        changed["encoder"]["feed_forward"]["up"], frozen["encoder"]["feed_forward"]["up"]
    )


def test_a_soft_prompt_is_its_vectors_before_the_embeddings():
    method = PromptTuning(3)
    trainable, frozen = method.prepare(toy.MODEL, toy.base(), jax.random.key(1), 2)
    vectors_PxD = trainable["prompt"]["vectors"] = trainable["prompt"]["vectors"] + 0.5
    params = method.merge(toy.MODEL, trainable, frozen)
    (example,) = with_prompt(
        toy.MODEL, [Labelled(Query(np.array([7, 5], np.int32), candidates=toy.ANSWERS), 0)], 3
    )
    forward = Forward(toy.MODEL)
    inputs = {
        "encoder_input_tokens": jnp.asarray(example.query.inputs)[None],
        "encoder_segment_ids": jnp.ones((1, 5), int),
        "encoder_positions": jnp.arange(5)[None],
    }
    by_hand_PxD = jnp.concatenate([vectors_PxD, frozen["embedding"][jnp.array([7, 5])]])
    payload = forward.run_tower(
        0, frozen["encoder"], frozen, {"encoder": (by_hand_PxD[None],)}, inputs, None, 0
    )
    memory = forward.begin_tower(0, params, {}, inputs)
    memory = forward.run_tower(0, params["encoder"], params, memory, inputs, None, 0)
    np.testing.assert_array_equal(memory["encoder"][0], payload["encoder"][0])
    head = {"decoder_norm": params["decoder_norm"], "embedding": params["embedding"]}
    assert forward.logits(head, jnp.ones((1, 16))).shape == (1, toy.MODEL.vocab_size)
    with pytest.raises(UserError, match="a soft prompt already"):
        method.prepare(toy.MODEL, params, jax.random.key(1), 2)


def test_below_the_cut_there_is_no_gradient_and_above_it_the_same():
    forward = trie_forward.TrieForward(toy.MODEL)
    batch = rows(toy.texts(4, 3), toy.SHAPE).batch(np.arange(4))

    def loss(params, lowest):
        return jnp.sum(trie_forward.scores(forward, params, batch, lowest=lowest).candidate_BxC)

    gradients = jax.jit(jax.grad(loss), static_argnums=1)
    whole, cut = gradients(toy.base(), 0), gradients(toy.base(), 2)  # the decoder's one layer
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), cut["decoder"], whole["decoder"])
    assert all(not leaf.any() for leaf in jax.tree.leaves([cut["encoder"], cut["embedding"]]))
    assert all(leaf.any() for leaf in jax.tree.leaves(whole["encoder"]))


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (Labelled(Query(np.array([5], np.int32), candidates=toy.ANSWERS), 2), "missing in the verbaliser"),
        (Labelled(Query(np.array([5], np.int32)), 0), "needs candidates"),
        (Labelled(Query(np.zeros(0, np.int32), candidates=toy.ANSWERS), 0), "is empty"),
        (Labelled(Query(np.ones(5000, np.int32), candidates=toy.ANSWERS), 0), "5000 tokens"),
    ],
)
def test_a_bad_example_is_told_in_one_line(example, message):
    with pytest.raises(UserError, match=message) as caught:
        trials()([example])
    assert "\n" not in str(caught.value)
