"""Texts that continue prompts."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_pipelines.text import json_line
from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs import model_flags, outputs, sampling_flags
from pangu_jax.verbs.sampling_flags import SamplingFlags
from pangu_jax.verbs.verb import Verb

if TYPE_CHECKING:
    from data_pipelines.text.vocabulary import SpecialTokens
    from pangu_jax.apps.language.decoding.queries import Generated
    from pangu_jax.apps.language.loaded import LoadedModel

log = logging.getLogger(__name__)


def _flags(parser: argparse.ArgumentParser) -> None:
    model_flags.add_to(parser)
    sampling_flags.add_to(parser)
    parser.add_argument("--prompt", metavar="TEXT", help="what the model continues")
    parser.add_argument("--file", metavar="FILE", help='prompts: a line each, or .jsonl with "prompt"')
    parser.add_argument(
        "--out", metavar="FILE", help="write texts there as JSON lines, in the prompts' order"
    )
    parser.add_argument("--mode", metavar="TOKEN", help="mode token such as [S]; the run's own unless given")
    parser.add_argument(
        "--sentinels", action=argparse.BooleanOptionalAction,
        help="read <extra_id_0> and so on in a prompt as sentinels; unless said, T5's vocabularies do",
    )  # fmt: skip
    sampling_flags.add_beams_to(parser)
    several = parser.add_argument_group("several texts per prompt")
    several.add_argument(
        "--samples", type=int, default=1, metavar="N", help="so many draws, or the best of the beams; 1"
    )
    several.add_argument(
        "--same_draws", action="store_true",
        help="a prompt that comes again gets the same draws again, not the next ones",
    )  # fmt: skip


def _generate(flags: argparse.Namespace) -> Result:
    """What the model writes after each prompt, in their order; also as JSON lines in --out."""
    prompts = read_prompts(flags.prompt, flags.file)
    settings = SamplingFlags.of(flags).settings()
    model_flags.require_tokens(flags.max_tokens)
    _require_several(flags)
    if flags.out is not None:
        outputs.require_writable(flags.out, "--out")
    loaded, generator = model_flags.open_run(flags)
    model_flags.require_mode(flags.mode, loaded)
    _say_what_sentinels_are(prompts, flags.sentinels, loaded.vocabulary.special)
    queries = [loaded.query(prompt, flags.mode, flags.sentinels) for prompt in prompts]
    if flags.same_draws:
        queries = [query._replace(draw=0) for query in queries]
    found = generator.several(queries, settings, flags.max_tokens, flags.samples)
    rows = [
        _row(loaded, prompt, written) | {"prompt_index": number, "text_index": which}
        for number, (prompt, texts) in enumerate(zip(prompts, found, strict=True))
        for which, written in enumerate(texts)
    ]
    if empty := sum(not row["text"] for row in rows):
        log.warning("%d of %d texts are empty: the model ended them at once", empty, len(rows))
    return outputs.of_texts(rows, flags.out)


def _say_what_sentinels_are(prompts: list[str], read: bool | None, special: "SpecialTokens") -> None:
    """UserError where sentinels are asked for and the vocabulary has none; warns where they are text."""
    if read and not special.sentinels:
        raise UserError("--sentinels: this model's vocabulary has none; leave the flag out")
    from data_pipelines.text.vocabulary.added_tokens import sentinels_in

    as_text = [prompt for prompt in prompts if sentinels_in(prompt)]
    if as_text and read is None and special.modes:
        log.warning(
            "%d of %d prompts hold <extra_id_0> or another, read as plain text here: --sentinels reads "
            "sentinels, and `pangu fill` fills them",
            len(as_text), len(prompts),
        )  # fmt: skip


def _row(loaded: "LoadedModel", prompt: str, written: "Generated") -> dict[str, Any]:
    return {"prompt": prompt, "text": loaded.decode(written.tokens)} | said_of(written)


def said_of(written: "Generated") -> dict[str, Any]:
    """What a row says of a text beside itself: its score, what that is the sum of, and why it ends."""
    row = {"score": round(written.score, 4), "tokens": written.length, "finish": written.finish}
    return row if written.rank_score is None else row | {"rank_score": round(written.rank_score, 4)}


def _require_several(flags: argparse.Namespace) -> None:
    """UserError where so many texts cannot be, said in the words of the flags."""
    count, draws = flags.samples, any(v is not None for v in (flags.temperature, flags.top_k, flags.top_p))
    if count < 1:
        raise UserError(f"--samples {count}: give a number from 1 on")
    if flags.beams is not None and count > flags.beams:
        raise UserError(f"--samples {count}: {flags.beams} beams have no {count} best; give --beams {count}")
    if count > 1 and flags.beams is None and not draws:
        raise UserError(
            f"--samples {count}: the likeliest text is one; draw (--temperature 1), or give --beams {count}"
        )
    if flags.same_draws and not draws:
        raise UserError("--same_draws: nothing is drawn; give --temperature, --top_k or --top_p")


def read_prompts(prompt: str | None, file: str | None) -> list[str]:
    """The one prompt, or those of a file: a line each, or of .jsonl the field "prompt" of each.

    Raises:
      UserError: both or neither is given; the file cannot be read; a prompt is empty or no text.
    """
    if file is None:
        if prompt is None:
            raise UserError("give --prompt TEXT or --file FILE, one of them")
        if not prompt.strip():
            raise UserError("--prompt: an empty prompt; write what the model is to continue")
        return [prompt]
    if prompt is not None:
        raise UserError("give --prompt TEXT or --file FILE, one of them")
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


VERBS: dict[str, Verb] = {
    "generate": Verb(
        "write on from a prompt, or from each line of a file",
        "pangu generate --run_dir runs/quickstart --file prompts.txt --out texts.jsonl --beams 4",
        _flags,
        _generate,
        opens_run=True,
    ),
}
