"""Tasks whose answers are free text: the model writes, and what it wrote is judged by the task's metric."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from data_pipelines.text.benchmarks import BenchmarkTask, Example, Pattern
from data_pipelines.text.benchmarks.examples import windows
from pangu_jax.apps.language.benchmarks.in_turns import AskedInTurns
from pangu_jax.apps.language.decoding import encoding
from pangu_jax.apps.language.decoding.generator import Generator
from pangu_jax.apps.language.decoding.settings import Settings
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.errors import UserError


class WrittenAnswers(NamedTuple):
    """What was written.

    Attributes:
      texts: by the example's id.
      cut: examples that were over-long; each window was answered, and the answer of the
        highest log p per token counts.
    """

    texts: dict[str, str]
    cut: int


def answer(
    loaded: LoadedModel,
    pattern: Pattern,
    examples: Sequence[Example],
    settings: Settings,
    max_tokens: int,
    length: int,
    stride: int,
    turns: AskedInTurns | None = None,
) -> WrittenAnswers:
    """The model's text for each example.

    Args:
      loaded: the model.
      pattern: renders an example; what it says after the answer is not asked for.
      examples: of one task.
      settings: how tokens are chosen.
      max_tokens: of an answer, its end among them.
      length: characters of a window of an over-long example's longest field.
      stride: characters from one window to the next.
      turns: how it is asked in turns; None: as plain text.

    Raises:
      UserError, DataError: an empty example, or a pattern that does not fit.
    """
    parts = [(number, part) for number, one in enumerate(examples) for part in windows(one, length, stride)]
    rendered = [pattern.render(part) for _, part in parts]
    read = [turns.query(one) if turns else encoding.query(loaded, one) for one in rendered]
    asked = [query._replace(candidates=()) for query in read]
    decode = turns.text if turns else loaded.decode
    generator = Generator.of(loaded.forward, loaded.params, loaded.vocabulary)
    generated = generator.generate(asked, settings, max_tokens)
    best: dict[int, tuple[float, str]] = {}
    for (number, _), one in zip(parts, generated, strict=True):
        score = one.score / one.length
        if number not in best or score > best[number][0]:
            best[number] = score, decode(one.tokens).strip()
    texts = {example.id: best[number][1] for number, example in enumerate(examples)}
    return WrittenAnswers(texts, sum(len(windows(one, length, stride)) > 1 for one in examples))


def judge(task: BenchmarkTask, examples: Sequence[Example], texts: Mapping[str, str]) -> dict[str, float]:
    """Metrics of written answers, percent; the first is the task's own.

    Raises:
      UserError: an example has no reference, its owners keep it.
    """
    if missing := [example.id for example in examples if not example.references]:
        raise UserError(f"{task.name}: {missing[0]} has no public answer; measure on another split")
    if task.kind == "reading":
        from pangu_jax.apps.language.benchmarks.metrics import reading

        found = reading.evaluate(dict(texts), {one.id: list(one.references) for one in examples})
        return {"exact_match": found.exact_match, "f1": found.f1}
    written = [texts[one.id] for one in examples]
    if task.kind == "intents":
        from pangu_jax.apps.language.benchmarks.metrics import intents

        right = [task.intents(one.references[0]) for one in examples]
        judged = intents.evaluate([task.intents(text) for text in written], right)
        return {"exact_set": judged.exact_set, "micro_f1": judged.micro_f1}
    from pangu_jax.apps.language.benchmarks.metrics import rouge

    found = rouge.evaluate(written, [one.references[0] for one in examples])
    own = {"rouge-l": found.scores["ROUGE-L"].f1}
    return own | {name.lower(): score.f1 for name, score in found.scores.items()}
