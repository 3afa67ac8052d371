"""`pangu VERB`: reads flags, calls one public function per verb, shows its result. Nothing else happens here.

The verbs themselves are the table in pangu_jax/verbs/.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NoReturn

from data_pipelines.errors import DataError
from pangu_jax import __version__
from pangu_jax.errors import OtherFamilyError, UserError, suggestion
from pangu_jax.verbs import VERBS, device_flags, outputs
from pangu_jax.verbs.notices import log_to_stderr
from pangu_jax.verbs.verb import Verb
from tpu_npu_backends import cpu
from tpu_npu_backends.errors import BackendError

RECIPE_FLAGS = """\
recipes and bindings:
  --gin_file RECIPE    a gin file, or the name of one that comes with the library (nlp/quickstart.gin);
                       may be given several times, later ones win
  --gin.NAME=VALUE     set one value over the recipes; also --gin.NAME VALUE. NAME is a parameter
                       (train.steps, Layout.model), a macro of the recipe (STEPS), or a parameter of the
                       verb's function (steps). VALUE is gin syntax (10, 1e-3, (1, 2), @adamw(), %STEPS)
                       and otherwise a string, which needs no quotes (cpu:8, /my data/x). A number given
                       to a parameter that takes only strings stays a string.
"""


class Parser(argparse.ArgumentParser):
    """argparse, with one line for a mistake, and the nearest name for an unknown flag."""

    def parse(self, args: list[str]) -> argparse.Namespace:
        """`parse_args`, after a look for flags that there are none of."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        for option in (argument.split("=")[0] for argument in args if argument.startswith("--")):
            if option not in known:  # before argparse complains about what is missing because of it
                self.error(f"no flag {option}{suggestion(option, known)}")
        return self.parse_args(args)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. 0 for success, 2 for what the caller can fix, 130 after Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    name = "pangu"
    try:
        name, rest = _verb(argv)
        if name not in VERBS:
            print(_help(name), end="")
            return 0
        verb = VERBS[name]
        arguments, bindings = _split_bindings(rest) if verb.takes_recipe or verb.opens_run else (rest, [])
        flags = _parser(name).parse(arguments)
        flags.bindings = bindings
        if verb.opens_run:
            cpu.one_arena()
            flags.layout, flags.bindings = device_flags.split(bindings)
            if not verb.takes_recipe:
                device_flags.require_none(flags.bindings)
        with log_to_stderr(name):
            return _run(verb, flags)
    except (UserError, DataError, BackendError) as error:
        for line in _words(error).splitlines():
            print(f"pangu {name}: {line}" if name in VERBS else f"pangu: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"pangu {name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `pangu config show | head`: nobody is reading any more, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _words(error: Exception) -> str:
    """An error's own, and what can be done with a run that is of another family than the verb's."""
    if not isinstance(error, OtherFamilyError):
        return str(error)
    from pangu_jax.apps import families

    verbs = ", ".join(f"pangu {verb}" for verb in families.verbs(error.family))
    return f"{error}; what can be done with it: {verbs}"


def _run(verb: Verb, flags: argparse.Namespace) -> int:
    if flags.json is None:
        result = verb.run(flags)
    elif flags.json == "-":  # standard output is for the JSON alone
        with contextlib.redirect_stdout(sys.stderr), _what_libraries_print_on_standard_error():
            result = verb.run(flags)
        if result.value is not None:
            print(json.dumps(result.value, ensure_ascii=False, indent=2))
        return result.status
    else:
        path = Path(flags.json)
        outputs.require_writable(path, "--json")
        result = verb.run(flags)
        if result.value is not None:
            path.write_text(json.dumps(result.value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if result.text:
        print(result.text)
    return result.status


@contextlib.contextmanager
def _what_libraries_print_on_standard_error() -> Generator[None]:
    """Below Python as well: the collectives of several processes print whom they are connected to."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _verb(argv: list[str]) -> tuple[str, list[str]]:
    """The verb, one word or two, and what follows it. "pangu" or a verb's first word when help is wanted."""
    if argv[:1] == ["--version"]:
        print(f"pangu {__version__}")
        raise SystemExit(0)
    if not argv or argv[0] in ("-h", "--help"):
        return "pangu", []
    groups = {verb.split()[0] for verb in VERBS}
    word = argv[0]
    if word not in groups:
        raise UserError(f"no verb '{word}'{suggestion(word, groups)}; see `pangu --help`")
    if word in VERBS:
        return word, argv[1:]
    if len(argv) == 1 or argv[1] in ("-h", "--help"):
        return word, []
    both = f"{word} {argv[1]}"
    if both not in VERBS:
        raise UserError(f"no verb '{both}'{suggestion(both, VERBS)}; see `pangu {word} --help`")
    return both, argv[2:]


def _split_bindings(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Takes --gin.NAME=VALUE and --gin.NAME VALUE out of the arguments: argparse cannot know the names."""
    others, bindings = [], []
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("--gin."):
            others.append(argument)
            continue
        binding = argument.removeprefix("--gin.")
        if "=" not in binding:
            value = next(rest, None)
            if value is None or value.startswith("--"):
                raise UserError(f"{argument} has no value; write {argument}=VALUE")
            binding = f"{binding}={value}"
        bindings.append(binding)
    return others, bindings


def _parser(name: str) -> Parser:
    verb = VERBS[name]
    parser = Parser(
        prog=f"pangu {name}",
        description=verb.summary,
        epilog=f"{RECIPE_FLAGS * verb.takes_recipe}{device_flags.HELP * verb.opens_run}\n"
        f"example:\n  {verb.example}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.arguments(parser)
    if verb.opens_run:
        device_flags.add_to(parser)
    if verb.takes_recipe:
        parser.add_argument("--gin_file", action="append", default=[], metavar="RECIPE", help="see below")
    parser.add_argument(
        "--json", metavar="FILE", help="also write the result as JSON; - writes it, alone, to standard output"
    )
    return parser


def _help(prefix: str) -> str:
    verbs = {name: verb for name, verb in VERBS.items() if prefix in ("pangu", name.split()[0])}
    lines = [f"  {name:<20} {verb.summary.splitlines()[0]}" for name, verb in verbs.items()]
    usage = "pangu VERB" if prefix == "pangu" else f"pangu {prefix} VERB"
    return "\n".join(
        [
            f"usage: {usage} [FLAGS]",
            "",
            *lines,
            "",
            "`pangu VERB --help` says all of a verb, with an example.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
