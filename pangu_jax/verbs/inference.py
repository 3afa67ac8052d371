"""Asking a model: texts that go on from prompts, and a conversation."""

import argparse

from pangu_jax.verbs.verb import Result, Verb


def _model_flags(parser: argparse.ArgumentParser, max_tokens: int) -> None:
    parser.add_argument("--run_dir", required=True, metavar="DIR", help="the run whose model is asked")
    parser.add_argument("--step", type=int, metavar="N", help="its checkpoint; the newest unless given")
    parser.add_argument(
        "--max_tokens", type=int, default=max_tokens, metavar="N", help=f"of a text; {max_tokens}"
    )
    draws = parser.add_argument_group("choosing tokens (the likeliest each time unless one is given)")
    draws.add_argument("--temperature", type=float, metavar="T", help="draw; logits are divided by it")
    draws.add_argument("--top_k", type=int, metavar="K", help="draw among the K likeliest")
    draws.add_argument("--top_p", type=float, metavar="P", help="draw among the likeliest that hold P")
    draws.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws; 0")
    draws.add_argument(
        "--repetition_penalty", type=float, default=1.0, metavar="X", help="above 1: against what was said"
    )
    draws.add_argument(
        "--no_repeat_ngram", type=int, default=0, metavar="N", help="no N tokens come twice; 0 allows it"
    )


def _choosing(flags: argparse.Namespace, beams: int | None):
    from pangu_jax.generating import Choosing

    return Choosing(
        beams,
        flags.temperature,
        flags.top_k,
        flags.top_p,
        flags.repetition_penalty,
        flags.no_repeat_ngram,
        flags.seed,
    )


def _generate_flags(parser: argparse.ArgumentParser) -> None:
    _model_flags(parser, max_tokens=128)
    parser.add_argument("--prompt", metavar="TEXT", help="what the model goes on from")
    parser.add_argument("--file", metavar="FILE", help='prompts: a line each, or .jsonl with "prompt"')
    parser.add_argument(
        "--out", metavar="FILE", help="write texts there as JSON lines, in the prompts' order"
    )
    parser.add_argument("--mode", metavar="TOKEN", help="mode token such as [S]; the run's own unless given")
    parser.add_argument("--beams", type=int, metavar="N", help="beam search with N beams")


def _generate(flags: argparse.Namespace) -> Result:
    from pangu_jax import generating

    found = generating.generate(
        flags.run_dir,
        generating.read_prompts(flags.prompt, flags.file),
        _choosing(flags, flags.beams),
        flags.max_tokens,
        step=flags.step,
        mode=flags.mode,
        out=flags.out,
    )
    return Result(found.value, found.text)


def _chat_flags(parser: argparse.ArgumentParser) -> None:
    _model_flags(parser, max_tokens=128)
    knowledge = parser.add_argument_group("knowledge")
    knowledge.add_argument(
        "--knowledge",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        help=".txt, .md, .jsonl, a folder of them, or an SQLite database: passages are found and cited",
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
    parser.add_argument("--window", type=int, default=512, metavar="N", help="tokens read at once; 512")
    parser.add_argument("--prompts", metavar="FILE", help="templates of your own, see docs/generation.md")


def _chat(flags: argparse.Namespace) -> Result:
    from pangu_jax import generating

    found = generating.chat(
        flags.run_dir,
        _choosing(flags, None),
        flags.max_tokens,
        step=flags.step,
        knowledge=flags.knowledge,
        retriever=flags.retriever,
        passages=flags.passages,
        turns=flags.turns,
        window=flags.window,
        prompts=flags.prompts,
        cache=flags.cache,
    )
    return Result(found.value, found.text)


VERBS: dict[str, Verb] = {
    "generate": Verb(
        "write on from a prompt, or from each line of a file",
        "pangu generate --run_dir runs/quickstart --file prompts.txt --out texts.jsonl --beams 4",
        _generate_flags,
        _generate,
    ),
    "chat": Verb(
        "talk with a model in the terminal or through a pipe, with knowledge that it cites",
        "pangu chat --run_dir runs/quickstart --knowledge manual.md products.db",
        _chat_flags,
        _chat,
    ),
}
