"""A conversation with a model, in the terminal or through a pipe."""

import argparse
import logging
from functools import partial
from typing import TYPE_CHECKING

from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs import model_flags, sampling_flags
from pangu_jax.verbs.sampling_flags import SamplingFlags
from pangu_jax.verbs.verb import Verb

if TYPE_CHECKING:
    from pangu_jax.apps.language.chat.reading import Conversation
    from pangu_jax.apps.language.loaded import LoadedModel
    from pangu_jax.apps.language.retrieval.knowledge import Knowledge
    from pangu_jax.apps.language.retrieval.prompting import Prompts

log = logging.getLogger(__name__)


def _flags(parser: argparse.ArgumentParser) -> None:
    model_flags.add_to(parser, max_tokens=None)
    sampling_flags.add_to(parser)
    knowledge = parser.add_argument_group("knowledge")
    knowledge.add_argument(
        "--knowledge",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        help="texts, pages, tables, JSON, archives, SQLite databases or folders of them: searched and cited",
    )
    knowledge.add_argument(
        "--retriever",
        choices=("bm25", "embeddings"),
        default="bm25",
        help="find by words, or by the model's own encoder; bm25 unless given",
    )
    knowledge.add_argument("--passages", type=int, default=3, metavar="N", help="of each question; 3")
    knowledge.add_argument("--cache", metavar="DIR", help="where indexes are kept; the user's cache folder")
    parser.add_argument("--turns", type=int, default=4, metavar="N", help="earlier questions read again; 4")
    parser.add_argument(
        "--window", type=int, metavar="N", help="tokens read at once; 512, with turns of its own up to 4096"
    )
    parser.add_argument("--prompts", metavar="FILE", help="templates of your own, see docs/generation.md")
    turns = parser.add_argument_group("models with turns of their own, such as openPangu")
    turns.add_argument(
        "--thinking", choices=("slow", "auto", "off"), help="before an answer: always, as needed, not; slow"
    )
    turns.add_argument("--system", metavar="TEXT", help="what the system says first; nothing unless given")
    turns.add_argument(
        "--fold_thinking", action="store_true", help="a line for what was thought, as in a pipe"
    )


def _chat(flags: argparse.Namespace) -> Result:
    """Talks in the terminal, or answers the lines of a pipe, until /quit or the end of the input."""
    from pangu_jax.apps.language.chat import limits, terminal
    from pangu_jax.apps.language.chat.session import ChatSession
    from pangu_jax.apps.language.retrieval import prompting

    settings, templates = SamplingFlags.of(flags).settings(), prompting.load(flags.prompts)
    if flags.max_tokens is not None:
        model_flags.require_tokens(flags.max_tokens)
    for name, least in (("passages", 1), ("window", 1), ("turns", 0)):
        if (value := getattr(flags, name)) is not None and value < least:
            raise UserError(f"--{name} {value}: give a number from {least} on")
    loaded, generator = model_flags.open_run(flags)
    if flags.retriever == "embeddings" and loaded.decoder_alone:
        raise UserError("--retriever embeddings: this model has no encoder to find by; take bm25")
    reading = _reading(loaded, flags, templates)
    own = limits.of(loaded, reading is not None)
    max_tokens = own.answer if flags.max_tokens is None else flags.max_tokens
    session = ChatSession(
        loaded,
        partial(generator.stream, settings=settings, max_tokens=max_tokens),
        templates,
        _knowledge(loaded, flags) if flags.knowledge else None,
        window=own.window if flags.window is None else flags.window,
        turns=flags.turns,
        passages=flags.passages,
        reading=reading,
    )
    answered = terminal.talk(session, templates, fold_thinking=flags.fold_thinking)
    value = [
        {
            "question": part.question,
            "answer": part.text,
            "score": round(part.score, 4),
            "finish": part.finish,
            "citations": [
                {"source": p.source, "relevance": round(p.score, 4), "text": p.text} for p in part.passages
            ],
        }
        | ({"thinking": part.thinking, "calls": list(part.calls)} if reading else {})
        for part in answered
    ]
    return Result(value, "")


def _reading(loaded: "LoadedModel", flags: argparse.Namespace, templates: "Prompts") -> "Conversation | None":
    """The model's own turns; None where it has none and is asked by templates.

    Raises:
      UserError: a flag of turns for a model without them.
    """
    from pangu_jax.apps.language.chat.reading import Conversation
    from pangu_jax.apps.language.chat.turns import Turns

    turns = Turns.of(loaded.vocabulary) if loaded.decoder_alone else None
    if turns is None:
        for name, given in (
            ("thinking", flags.thinking is not None),
            ("system", flags.system is not None),
            ("fold_thinking", flags.fold_thinking),
        ):
            if given:
                raise UserError(f"--{name}: this model has learnt no turns of a conversation; leave it out")
        return None
    return Conversation(turns, loaded.after, templates, flags.system or "", flags.thinking or "slow")


def _knowledge(loaded: "LoadedModel", flags: argparse.Namespace) -> "Knowledge":
    from pangu_jax.apps.language.retrieval import left_out
    from pangu_jax.apps.language.retrieval.embeddings import Encoder
    from pangu_jax.apps.language.retrieval.knowledge import Knowledge

    encoder = None
    if flags.retriever == "embeddings":
        encoder = Encoder(loaded.forward, loaded.params, loaded.encode_inputs)
    known = Knowledge.open(flags.knowledge, flags.retriever, encoder=encoder, cache=flags.cache)
    for line in left_out.lines(known.quarantine):
        log.warning("left out of the knowledge: %s", line)
    return known


VERBS: dict[str, Verb] = {
    "chat": Verb(
        "talk with a model in the terminal or through a pipe, with knowledge that it cites",
        "pangu chat --run_dir runs/quickstart --knowledge manual.md products.db",
        _flags,
        _chat,
        opens_run=True,
    ),
}
