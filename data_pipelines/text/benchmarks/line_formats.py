"""Sets with an example per line of .jsonl. A line that is broken goes to the quarantine with its number."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from data_pipelines.text import json_line
from data_pipelines.text.benchmarks.examples import Example
from data_pipelines.text.benchmarks.files import File

_BLANK = re.compile(r"#idiom\d*#")
_EMPTY = "（　　）"  # what is put at a blank that is not asked about


def records(file: File) -> Iterator[Example]:
    """FewCLUE, CLUE: `file.fields` says which keys are text. A list of strings is joined by "、"."""

    def parse(record: Mapping[str, Any], number: int) -> Iterator[Example]:
        fields = {}
        for name, key in file.fields.items():
            value = record[key]
            fields[name] = _text("、".join(value) if isinstance(value, list) else value)
        yield from _labelled(file, Example(_id(record, number), fields, None), record, number)

    return _each(file, parse)


def idioms(file: File) -> Iterator[Example]:
    """FewCLUE's ChID: one blank per text, which is cut there into the fields `before` and `after`."""

    def parse(record: Mapping[str, Any], number: int) -> Iterator[Example]:
        before, after = _BLANK.split(record["content"])
        options, answer = tuple(record["candidates"]), record.get("answer")
        label = None if answer is None else options[int(answer)]
        yield Example(_id(record, number), {"before": before, "after": after}, label, options)

    return _each(file, parse)


def idiom_groups(file: File) -> Iterator[Example]:
    """CLUE's ChID: several texts share their candidates, and the answers lie in NAME_answer.json.

    An example per blank; it shows the text's other blanks empty.
    """
    kept = file.beside(f"{file.path.name.split('.')[0]}_answer")
    answers = json.loads(kept) if kept else {}

    def parse(record: Mapping[str, Any], number: int) -> Iterator[Example]:
        options = tuple(record["candidates"])
        for content in record["content"]:
            for blank in _BLANK.finditer(content):
                parts = {"before": content[: blank.start()], "after": content[blank.end() :]}
                fields = {name: _BLANK.sub(_EMPTY, part) for name, part in parts.items()}
                answer = answers.get(blank.group())
                label = None if answer is None else options[int(answer)]
                yield Example(blank.group().strip("#"), fields, label, options)

    return _each(file, parse)


def pronouns(file: File) -> Iterator[Example]:
    """CLUEWSC: does the pronoun (span 2) mean the noun (span 1)?

    Fields: `text`; `marked`, with 《noun》 and 【pronoun】; `noun`; `pronoun`; and `resolved`, the text with
    the noun in the pronoun's place.
    """

    def parse(record: Mapping[str, Any], number: int) -> Iterator[Example]:
        text, target = record["text"], record["target"]
        noun, pronoun = target["span1_text"], target["span2_text"]
        begin = int(target["span2_index"])
        spans = [(int(target["span1_index"]), noun, "《》"), (begin, pronoun, "【】")]
        marked, at = "", 0
        for first, words, (left, right) in sorted(spans):
            marked += f"{text[at:first]}{left}{words}{right}"
            at = first + len(words)
        fields = {
            "text": text,
            "marked": marked + text[at:],
            "noun": noun,
            "pronoun": pronoun,
            "resolved": text[:begin] + noun + text[begin + len(pronoun) :],
        }
        yield from _labelled(file, Example(_id(record, number), fields, None), record, number)

    return _each(file, parse)


def articles(file: File) -> Iterator[Example]:
    """NLPCC2018 (TTNews): {"summarization", "article"} per line; <Paragraph> marks the ends of paragraphs."""

    def parse(record: Mapping[str, Any], number: int) -> Iterator[Example]:
        parts = [part.strip() for part in record["article"].split("<Paragraph>")]
        summary = _text(record.get("summarization") or "").strip()
        text = "\n".join(part for part in parts if part)
        yield Example(_id(record, number), {"text": text}, None, references=(summary,) if summary else ())

    return _each(file, parse)


def _each(file: File, parse: Callable[[Mapping[str, Any], int], Iterator[Example]]) -> Iterator[Example]:
    # Not splitlines: strings of JSON may hold its other line ends as they are.
    for number, line in enumerate(file.text().split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json_line.loads(line)
        except ValueError as error:
            file.broken(number, str(error), line)
            continue
        try:
            examples = list(parse(record, number))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            file.broken(number, f"no record of this set: {type(error).__name__} {error}", line)
            continue
        yield from examples


def _labelled(file: File, example: Example, record: Mapping[str, Any], number: int) -> Iterator[Example]:
    """The example with its record's label; nothing when that is none."""
    value = record.get(file.label)
    if value is None:
        yield example
    elif str(value) in file.skip:
        file.pass_over()
    else:
        yield dataclasses.replace(example, label=file.known(str(value), number))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"no text: {value!r:.40}")
    return value


def _id(record: Mapping[str, Any], number: int) -> str:
    return str(record.get("id", record.get("idx", number)))
