"""Conversations to learn answers from: lines of JSON, as the turns of the model that is tuned.

    {"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好！"}]}

Also {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", ...}]}. Each answer is an example:
what was said before it is read, thoughts of earlier answers left out as in a conversation, and its tokens and
the end of its turn are learnt, nothing else, as its owners show the fine-tuning of openPangu-Embedded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError
from data_pipelines.text import json_line
from pangu_jax.apps.language.chat.turns import ROLES, Turn, Turns, without_thoughts
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.tuning.examples import Labelled
from pangu_jax.errors import UserError

TASK = "conversations"  # as `tune.task`; a split is a file
FORMS = {"messages": ("role", "content"), "conversations": ("from", "value")}
_OTHER_NAMES = {"human": "user", "gpt": "assistant"}


def labelled(loaded: LoadedModel, file: Path) -> list[Labelled]:
    """The answers of a file, in its order.

    Raises:
      UserError: the model has learnt no turns.
      DataError: the file cannot be read, or a line is no conversation that ends in an answer.
    """
    turns = Turns.of(loaded.vocabulary) if loaded.decoder_alone else None
    if turns is None:
        raise UserError(
            f"tune.task = {TASK!r}: this model has no turns of a conversation, so that there is nothing to "
            "write it as; tune on a task with a pattern"
        )
    return [one for said in read(file) for one in _answers(loaded, turns, said)]


def read(file: Path) -> list[list[Turn]]:
    """The conversations of a file; blank lines are none. Raises DataError as `labelled`."""
    try:
        lines = file.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 from byte {error.start} on: convert it first") from None
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    found = [_conversation(line, f"{file}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise DataError(f"{file}: there is no conversation in it")
    return found


def _conversation(line: str, where: str) -> list[Turn]:
    try:
        record = json_line.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    form = next((name for name in FORMS if isinstance(record, Mapping) and name in record), None)
    if form is None or not isinstance(record[form], list):
        raise DataError(f'{where}: there is no list "messages" (or "conversations") in it')
    turns = [_turn(message, FORMS[form], where) for message in record[form]]
    roles = [turn.role for turn in turns]
    if "system" in roles[1:]:
        raise DataError(f"{where}: the system speaks later than first; its turn is the first and only one")
    if not roles or roles[-1] != "assistant":
        raise DataError(f"{where}: the last turn is no answer of the assistant: there is nothing to learn")
    return turns


def _turn(message: Any, names: tuple[str, str], where: str) -> Turn:
    role, text = (message.get(name) if isinstance(message, Mapping) else None for name in names)
    role = _OTHER_NAMES.get(role, role) if isinstance(role, str) else None
    if role not in ROLES or not isinstance(text, str):
        raise DataError(
            f"{where}: a turn needs {names[0]!r}, one of {', '.join(ROLES)}, and a text in {names[1]!r}"
        )
    # What an answer holds of thoughts and calls is written in it, with their marks; others write letters.
    return Turn("assistant", Turns.written(text)) if role == "assistant" else Turn.of(role, text)


def _answers(loaded: LoadedModel, turns: Turns, said: list[Turn]) -> list[Labelled]:
    found, before = [], []
    for turn in said:
        if turn.role == "assistant":
            query = loaded.after(turns.prompt(before))
            found.append(Labelled(query._replace(candidates=(turns.answer(turn.spans),)), 0))
            turn = turn._replace(spans=without_thoughts(turn.spans))
        before.append(turn)
    return found
