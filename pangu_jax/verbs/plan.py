"""Layouts for chips that need not be there."""

import argparse

from pangu_jax.errors import UserError
from pangu_jax.result import Result
from pangu_jax.verbs import topology_flags
from pangu_jax.verbs.recipe_flags import loaded
from pangu_jax.verbs.verb import Verb

BATCH, LENGTH = 8, 4096


def _plan_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--topology",
        required=True,
        metavar="NAME",
        help="chips: v5p:8x8x8, v6e:16x16, h100:2x8 (nodes x GPUs), cpu:8, ascend910b:512",
    )
    parser.add_argument(
        "--for", dest="purpose", choices=("train", "generate"), default="train",
        help="a step of training, or of writing texts: weights and cache; train",
    )  # fmt: skip
    writing = parser.add_argument_group("with --for generate")
    writing.add_argument("--batch", type=int, metavar="N", help=f"texts written side by side; {BATCH}")
    writing.add_argument(
        "--length", type=int, metavar="N", help=f"tokens of each, read and written; {LENGTH}"
    )
    parser.add_argument("--top", type=int, default=10, metavar="N", help="layouts to rank; 10 unless given")
    parser.add_argument("--verify", type=int, default=0, metavar="K", help="compile the best K of them")
    parser.add_argument("--dump_hlo", metavar="DIR", help="write each compiled program's optimised HLO there")
    parser.add_argument(
        "--fix",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="look only at layouts with this (stage=4, schedule=1f1b, remat=full); may come several times",
    )
    topology_flags.add_memory_fraction(parser)


def _plan(flags: argparse.Namespace) -> Result:
    from pangu_jax.planning import layouts

    if flags.purpose == "generate":
        return _plan_writing(flags)
    if flags.batch is not None or flags.length is not None:
        raise UserError("--batch and --length are of texts: give --for generate with them")
    return layouts.plan(
        loaded(flags),
        flags.topology,
        top=flags.top,
        verify=flags.verify,
        dump_hlo=flags.dump_hlo,
        fixed=layouts.parse_fixed(flags.fix),
        memory_fraction=flags.memory_fraction,
    )


def _plan_writing(flags: argparse.Namespace) -> Result:
    from pangu_jax.apps.language.decoding import lowered_step
    from pangu_jax.planning import layouts, writing

    layouts.require_counts(flags.top, flags.verify, flags.dump_hlo)
    texts = BATCH if flags.batch is None else flags.batch
    tokens = LENGTH if flags.length is None else flags.length
    writing.require_sizes(texts, tokens)
    recipe = loaded(flags)
    return writing.plan(
        lowered_step.of_recipe(recipe, texts, tokens),
        flags.gin_file[-1],
        flags.topology,
        top=flags.top,
        verify=flags.verify,
        dump_hlo=flags.dump_hlo,
        fixed=layouts.parse_fixed(flags.fix),
        compute_dtype=recipe.arguments("Layout").get("compute_dtype", "auto"),
        memory_fraction=flags.memory_fraction,
    )


VERBS: dict[str, Verb] = {
    "plan": Verb(
        "find the layout of a recipe on some chips, whether they are there or not",
        "pangu plan --gin_file nlp/110b.gin --topology v5p:8x8x8 --top 10 --verify 3",
        _plan_flags,
        _plan,
        takes_recipe=True,
    ),
}
