"""`pangu generate` and `pangu chat`: a run directory's model, asked in text."""

import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from data_pipelines.text import json_line
from pangu_jax import outputs
from pangu_jax.errors import UserError
from pangu_jax.shown import Shown

log = logging.getLogger(__name__)


class Choosing(NamedTuple):
    """How tokens are chosen, as flags say it: None where nothing was said."""

    beams: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    seed: int = 0

    def settings(self):
        """Beam search if beams are given, drawing if anything of it is, and greedy otherwise.

        Raises:
          UserError: both are given, or a value is out of its range.
        """
        from pangu_jax.apps.language.decoding.settings import Beam, Greedy, Sampling

        drawing = {
            name: value
            for name in ("temperature", "top_k", "top_p")
            if (value := getattr(self, name)) is not None
        }
        repetition = {
            "repetition_penalty": self.repetition_penalty,
            "no_repeat_ngram": self.no_repeat_ngram,
        }
        if self.beams is not None and drawing:
            raise UserError(f"--beams and --{next(iter(drawing))} exclude each other: search, or draw")
        if self.beams is not None:
            return Beam(beams=self.beams, **repetition)
        if drawing:
            return Sampling(**drawing, seed=self.seed, **repetition)
        return Greedy(**repetition)


def read_prompts(prompt: str | None, file: str | None) -> list[str]:
    """The one prompt, or those of a file: a line each, or of .jsonl the field "prompt" of each.

    Raises:
      UserError: both or neither is given; the file cannot be read; a prompt is empty or no text.
    """
    if (prompt is None) == (file is None):
        raise UserError("give --prompt TEXT or --file FILE, one of them")
    if prompt is not None:
        if not prompt.strip():
            raise UserError("--prompt: an empty prompt; write what the model is to go on from")
        return [prompt]
    try:
        text = Path(file).read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 from byte {error.start} on: convert it first") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise UserError(f"{file}: there is no prompt in it")
    read = _json_prompt if file.endswith(".jsonl") else lambda line, where: line.rstrip("\r")
    found = []
    for number, line in enumerate(lines, 1):
        where = f"{file}:{number}"
        found.append(read(line, where))
        if not found[-1].strip():
            raise UserError(f"{where}: an empty prompt; write one, or take the line out")
    return found


def _json_prompt(line: str, where: str) -> str:
    try:
        record = json_line.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    prompt = record.get("prompt") if isinstance(record, dict) else None
    if not isinstance(prompt, str):
        raise UserError(f'{where}: there is no text in field "prompt"')
    return prompt


def generate(
    run_dir: str,
    prompts: Sequence[str],
    choosing: Choosing,
    max_tokens: int,
    *,
    step: int | None = None,
    mode: str | None = None,
    out: str | None = None,
) -> Shown:
    """What the model writes after each prompt, in their order; also as JSON lines in `out`.

    Raises:
      UserError: what the caller can mend, in one line.
    """
    settings = choosing.settings()
    _require_tokens(max_tokens)
    if out is not None:
        outputs.require_writable(out, "--out")
    loaded, generator = _opened(run_dir, step)
    modes = loaded.vocabulary.special.modes
    if mode is not None and mode not in modes:
        raise UserError(f"--mode {mode}: this model knows {', '.join(modes) or 'no modes; leave it out'}")
    queries = [loaded.query(prompt, mode) for prompt in prompts]
    found = generator.generate(queries, settings, max_tokens)
    rows = [
        {"prompt": prompt, "text": loaded.decode(written.tokens), "score": round(float(written.score), 4)}
        for prompt, written in zip(prompts, found, strict=True)
    ]
    if empty := sum(not row["text"] for row in rows):
        log.warning("%d of %d texts are empty: the model ended them at once", empty, len(rows))
    if out is None:
        return Shown(rows, "\n".join(row["text"] for row in rows))
    with Path(out).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return Shown(rows, f"{len(rows)} texts in {out}")


def chat(
    run_dir: str,
    choosing: Choosing,
    max_tokens: int,
    *,
    step: int | None = None,
    knowledge: Sequence[str] = (),
    retriever: str = "bm25",
    passages: int = 3,
    turns: int = 4,
    window: int = 512,
    prompts: str | None = None,
    cache: str | None = None,
) -> Shown:
    """Talks in the terminal, or answers the lines of a pipe, until /quit or the end of the input.

    Raises:
      UserError, DataError: what the caller can mend, in one line.
    """
    from pangu_jax.apps.language.chat import terminal
    from pangu_jax.apps.language.chat.session import Session
    from pangu_jax.apps.language.retrieval import prompting

    settings, templates = choosing.settings(), prompting.load(prompts)
    if choosing.beams is not None:
        raise UserError("--beams: a beam search cannot stream; leave it out, or use `pangu generate`")
    _require_tokens(max_tokens)
    for name, value in (("passages", passages), ("window", window)):
        if value < 1:
            raise UserError(f"--{name} {value}: give a number from 1 on")
    if turns < 0:
        raise UserError(f"--turns {turns}: give a number from 0 on")
    loaded, generator = _opened(run_dir, step)
    known = _knowledge(loaded, knowledge, retriever, cache) if knowledge else None
    stream = partial(generator.stream, settings=settings, max_tokens=max_tokens)
    session = Session(loaded, stream, templates, known, window=window, turns=turns, passages=passages)
    answered = terminal.talk(session, templates)
    return Shown(
        [
            {
                "question": part.question,
                "answer": part.text,
                "citations": [
                    {"source": p.source, "score": round(p.score, 4), "text": p.text} for p in part.passages
                ],
            }
            for part in answered
        ],
        "",
    )


def _knowledge(loaded, paths: Sequence[str], retriever: str, cache: str | None):
    from pangu_jax.apps.language.retrieval.embeddings import Encoder
    from pangu_jax.apps.language.retrieval.knowledge import Knowledge
    from pangu_jax.workloads.language.model.forward import Forward

    encoder = None
    if retriever == "embeddings":
        encoder = Encoder(Forward(loaded.config), loaded.params, loaded.encode_inputs)
    known = Knowledge.open(paths, retriever, encoder=encoder, cache=cache)
    if known.quarantine.counts:
        first = known.quarantine.entries[0]
        log.warning(
            "%d lines of the knowledge were left out, the first %s:%s (%s)",
            known.quarantine.counts.total(), first["file"], first["where"], first["reason"],
        )  # fmt: skip
    return known


def _opened(run_dir: str, step: int | None):
    from pangu_jax.apps.language import loaded as loading
    from pangu_jax.apps.language.decoding.generator import Generator

    loaded = loading.load(run_dir, step)
    return loaded, Generator(loaded.config, loaded.params)


def _require_tokens(max_tokens: int) -> None:
    if max_tokens < 1:
        raise UserError(f"--max_tokens {max_tokens}: give a number from 1 on")
