"""Texts with gaps, filled."""

import argparse
import logging
from typing import Any

from pangu_jax.result import Result
from pangu_jax.verbs import model_flags, outputs, sampling_flags
from pangu_jax.verbs.generate import read_prompts, said_of
from pangu_jax.verbs.sampling_flags import SamplingFlags
from pangu_jax.verbs.verb import Verb

log = logging.getLogger(__name__)


def _flags(parser: argparse.ArgumentParser) -> None:
    model_flags.add_to(parser)
    sampling_flags.add_to(parser)
    parser.add_argument("--prompt", metavar="TEXT", help="the text, <extra_id_0>, <extra_id_1>, ... its gaps")
    parser.add_argument("--file", metavar="FILE", help='texts: a line each, or .jsonl with "prompt"')
    parser.add_argument("--out", metavar="FILE", help="write rows there as JSON lines, in the texts' order")
    parser.add_argument("--mode", metavar="TOKEN", help="mode token; [R] where the vocabulary has modes")
    sampling_flags.add_beams_to(parser)


def _fill(flags: argparse.Namespace) -> Result:
    """Each text with what the model writes for its gaps, in their order; also as JSON lines in --out."""
    texts = read_prompts(flags.prompt, flags.file)
    settings = SamplingFlags.of(flags).settings()
    model_flags.require_tokens(flags.max_tokens)
    if flags.out is not None:
        outputs.require_writable(flags.out, "--out")
    loaded, generator = model_flags.open_run(flags)
    model_flags.require_mode(flags.mode, loaded)
    from pangu_jax.apps.language.decoding import filling

    named = [f"{flags.file}:{n}" if flags.file else "--prompt" for n in range(1, len(texts) + 1)]
    queries = [
        filling.query(loaded, text, where, flags.mode) for text, where in zip(texts, named, strict=True)
    ]
    rows: list[dict[str, Any]] = []
    for text, written in zip(texts, generator.generate(queries, settings, flags.max_tokens), strict=True):
        filled = filling.fill(loaded, text, written.tokens)
        row = {"prompt": text, "text": filled.text, "spans": list(filled.spans)}
        rows.append(row | said_of(written))
    gaps = [span for row in rows for span in row["spans"]]
    if open_ := sum(not span for span in gaps):
        log.warning("%d of %d gaps got no text: the model passed them over", open_, len(gaps))
    return outputs.of_texts(rows, flags.out)


VERBS: dict[str, Verb] = {
    "fill": Verb(
        "fill the gaps of a text, <extra_id_0>, <extra_id_1> and so on, or of each line of a file",
        "pangu fill --run_dir runs/mengzi --prompt '中国的首都是<extra_id_0>京，人口<extra_id_1>万。'",
        _flags,
        _fill,
        opens_run=True,
    ),
}
