"""A tiny reader for `benchmarks.retrieval`: an encoder-decoder that learns on a CPU to answer from a passage.

It learns to say how a sentence of a passage continues (long answers: that is where copying is learned), to
fill blanks, both made of running text, and from CMRC2018's questions about articles that are held out of the
measurement. A share of its examples has no passage, and a share a wrong one, so that the closed book and a
knowledge base without the answer are nothing new to it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.text.vocabulary import EOS, Vocabulary
from data_pipelines.text.vocabulary import train as train_vocabulary
from pangu_jax.apps.language.retrieval.chunking import chunks
from pangu_jax.apps.language.retrieval.knowledge import Passage
from pangu_jax.apps.language.retrieval.prompting import Prompts
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

WINDOW = 112  # tokens of the encoder
ANSWER = 24  # of the decoder
CONTINUED, CLOZE = 0.5, 0.25  # shares of the examples; the others are CMRC2018's
CLOSED, WRONG = 0.1, 0.05  # shares without a passage, and with a wrong one
_WORDS = ("什么", "哪个", "谁", "多少")
_SENTENCE = re.compile(r"[^。！？\n]{16,80}[。！？]")


class Asked(NamedTuple):
    """A question, its answer, and the article that holds it."""

    question: str
    answer: str
    context: str
    article: str


@dataclass(frozen=True)
class Examples:
    """Endless batches of (prompt, answer), drawn in blocks of a batch: the `TrainStream` of the trainer."""

    asked: Sequence[Asked]
    texts: Sequence[str]
    vocabulary: Vocabulary
    prompts: Prompts
    size: int
    batch_size: int
    seed: int
    shift: int = 0

    def batch(self, step: int, rows: slice | None = None) -> dict[str, np.ndarray]:
        block, skipped = divmod(step * self.batch_size + self.shift, self.batch_size)
        pairs = self._block(block) + (self._block(block + 1) if skipped else [])
        pairs = pairs[skipped : skipped + self.batch_size][rows or slice(None)]
        return windows(self.vocabulary, *zip(*pairs, strict=True))

    def _block(self, number: int) -> list[tuple[str, str]]:
        rng = np.random.default_rng([self.seed, number])
        return [self._example(rng) for _ in range(self.batch_size)]

    def iterator(self, start_step: int, rows: slice | None = None) -> Iterator[dict[str, np.ndarray]]:
        step = start_step
        while True:
            yield self.batch(step, rows)
            step += 1

    def identity(self, step: int) -> list[str]:
        first = step * self.batch_size + self.shift
        return [f"{number}" for number in range(first, first + self.batch_size)]

    def epochs(self, step: int) -> dict[str, int]:
        return {}

    def _example(self, rng: np.random.Generator) -> tuple[str, str]:
        task = rng.random()
        if task < CONTINUED:
            question, answer, passage = self._continued(rng)
        elif task < CONTINUED + CLOZE:
            question, answer, passage = self._cloze(rng)
        else:
            asked = self.asked[rng.integers(len(self.asked))]
            question, answer = asked.question, asked.answer
            passage = around(asked.context, asked.answer, self.size)
        kind = rng.random()
        if kind < CLOSED:
            return self.prompts.prompt(question), answer
        shown = self._other(rng) if kind < CLOSED + WRONG else passage
        return self.prompts.prompt(question, [Passage(shown, "")]), answer

    def _other(self, rng: np.random.Generator) -> str:
        text = self.texts[rng.integers(len(self.texts))]
        begin = int(rng.integers(max(1, len(text) - self.size)))
        return text[begin : begin + self.size]

    def _sentence(self, rng: np.random.Generator) -> tuple[str, str]:
        while True:
            text = self.texts[rng.integers(len(self.texts))]
            if sentences := _SENTENCE.findall(text):
                return text, sentences[rng.integers(len(sentences))]

    def _continued(self, rng: np.random.Generator) -> tuple[str, str, str]:
        """How a sentence begins, and how it continues."""
        text, sentence = self._sentence(rng)
        begin = int(rng.integers(4, len(sentence) - 10))
        question = sentence[max(0, begin - 10) : begin] + "后面是什么？"
        return question, sentence[begin : begin + 30], around(text, sentence, self.size)

    def _cloze(self, rng: np.random.Generator) -> tuple[str, str, str]:
        """A sentence whose middle became a question word; the answer is what stood there."""
        import rjieba

        while True:
            text, sentence = self._sentence(rng)
            words = rjieba.cut(sentence)
            first, count = int(rng.integers(len(words))), int(rng.integers(1, 4))
            answer = "".join(words[first : first + count]).strip("，。！？、；：“”《》 ")
            if not 2 <= len(answer) <= 16 or sentence.count(answer) != 1:
                continue
            word = _WORDS[rng.integers(len(_WORDS))]
            before, after = (
                sentence.rstrip("。！？").split(answer)[0],
                sentence.rstrip("。！？").split(answer)[-1],
            )
            return before[-14:] + word + after[:10] + "？", answer, around(text, sentence, self.size)


def around(context: str, inside: str, size: int) -> str:
    """The passage of `context` in which `inside` stands; the first one if it stands in none."""
    found = [context[begin:end] for begin, end in chunks(context, size, size // 5)]
    return next((passage for passage in found if inside in passage), found[0])


def answer_tokens(vocabulary: Vocabulary, answer: str) -> np.ndarray:
    """int32 [at most ANSWER]: the answer, cut where it is too long, and the end."""
    return np.append(vocabulary.encode(answer)[: ANSWER - 1], EOS).astype(np.int32)


def windows(vocabulary: Vocabulary, prompts: Sequence[str], answers: Sequence[str]) -> dict[str, np.ndarray]:
    """seqio's features, one example per row: int32 [B, WINDOW] and [B, ANSWER]; what is longer is cut."""
    count = len(prompts)
    inputs_BxS = np.zeros((count, WINDOW), np.int32)
    targets_BxT = np.zeros((count, ANSWER), np.int32)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        tokens = vocabulary.encode(prompt)[-WINDOW:]  # the question stands last
        inputs_BxS[row, : len(tokens)] = tokens
        tokens = answer_tokens(vocabulary, answer)
        targets_BxT[row, : len(tokens)] = tokens
    batch: dict[str, np.ndarray] = {
        "encoder_input_tokens": inputs_BxS,
        "decoder_target_tokens": targets_BxT,
        "decoder_input_tokens": np.pad(targets_BxT, ((0, 0), (1, 0)))[:, :-1],
        "decoder_loss_weights": (targets_BxT != 0).astype(np.float32),
        "task_id": np.zeros(count, np.int32),
    }
    for tower, tokens_BxT in (("encoder", inputs_BxS), ("decoder", targets_BxT)):
        batch[f"{tower}_segment_ids"] = (tokens_BxT != 0).astype(np.int32)
        batch[f"{tower}_positions"] = np.broadcast_to(
            np.arange(tokens_BxT.shape[1], dtype=np.int32), tokens_BxT.shape
        )
    return batch


@dataclass(frozen=True)
class Reading:
    """The data of the workload `LanguageModel` (its `TokenData`)."""

    asked: Sequence[Asked]
    texts: Sequence[str]
    vocabulary: Vocabulary
    prompts: Prompts
    size: int
    encoder_length: int = WINDOW
    decoder_length: int = ANSWER
    task_names: tuple[str, ...] = ("reading",)
    objectives: tuple[str, ...] = field(default=())

    @property
    def vocabulary_size(self) -> int:
        return self.vocabulary.size

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> Examples:
        drawn_from = (self.asked, self.texts, self.vocabulary, self.prompts, self.size)
        return Examples(*drawn_from, batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> Mapping[str, Examples]:
        return {}

    def fingerprint(self) -> dict[str, str]:
        return {"vocabulary": self.vocabulary.fingerprint}

    def order(self) -> dict[str, str]:
        return {}


def trained(
    directory: Path, asked: Sequence[Asked], texts: Sequence[str], prompts: Prompts, size: int, steps: int
):
    """(configuration, parameters, vocabulary) of a reader trained by the library's trainer."""
    from pangu_jax.training.optimizers import adamw
    from pangu_jax.training.schedules import cosine_schedule
    from pangu_jax.training.train import train
    from pangu_jax.workloads.language import LanguageModel

    file = directory / "vocabulary.model"
    if not file.is_file():
        directory.mkdir(parents=True, exist_ok=True)
        lines = [line for text in [*texts, *(a.question for a in asked)] for line in text.splitlines()]
        train_vocabulary(lines[:60_000], 5000, file)
    vocabulary = Vocabulary(file)
    config = EncoderDecoderConfig(
        vocab_size=-(-vocabulary.size // 64) * 64,
        d_model=128,
        d_ff=384,
        heads=4,
        encoder_layers=1,
        decoder_layers=2,
        head_scale=128**-0.5,
    )

    class Reader(LanguageModel):
        """With T5's embeddings, of unit variance: a token to be copied is not drowned by the layers."""

        def init(self, key):
            params = super().init(key)
            return params | {"embedding": params["embedding"] * config.d_model**0.5}

    data = Reading(asked, texts, vocabulary, prompts, size)
    schedule = cosine_schedule(steps, 3e-3, warmup=min(50, steps // 4))
    found = train(
        str(directory / "run"),
        Reader(config, data),
        adamw(schedule),
        steps=steps,
        batch_size=32,
        log_every=50,
        checkpoint_every=steps,
    )
    return config, found.params, vocabulary
