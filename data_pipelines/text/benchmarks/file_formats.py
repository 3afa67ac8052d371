"""Sets whose files are one whole: nested JSON, tables, tagged words, and the like.

A member that is broken goes to the quarantine; a file that is none of its kind is a DataError.
"""

import json
import re
from collections.abc import Iterator

from data_pipelines.errors import DataError
from data_pipelines.text.benchmarks.examples import JOINED, Example
from data_pipelines.text.benchmarks.files import File


def c3(file: File) -> Iterator[Example]:
    """C3: [[turns or paragraphs], [{question, choice, answer}], id]."""
    for passage, questions, name in json.loads(file.text()):
        for number, asked in enumerate(questions):
            options, answer = tuple(asked["choice"]), asked.get("answer")
            if answer is not None and answer not in options:
                file.broken(f"{name}/{number}", "the answer is no option", asked["question"])
                continue
            fields = {"passage": "\n".join(passage), "question": asked["question"]}
            yield Example(f"{name}/{number}", fields, answer, options)


def squad(file: File) -> Iterator[Example]:
    """CMRC2018 in the format of SQuAD."""
    for article in json.loads(file.text())["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                fields = {"passage": paragraph["context"], "question": asked["question"]}
                answers = dict.fromkeys(answer["text"] for answer in asked.get("answers", ()))
                yield Example(str(asked["id"]), fields, None, references=tuple(answers))


def prompted_lines(file: File) -> Iterator[Example]:
    """CSL: a prompt, a source and a target per line, between tabs."""
    for number, line in enumerate(file.text().split("\n"), 1):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != 3:
            file.broken(number, f"not 3 cells: {len(cells)}", line)
            continue
        _, source, target = (cell.strip() for cell in cells)
        if file.labels:
            yield Example(str(number), {"text": source}, file.known(target, number))
        else:
            yield Example(str(number), {"text": source}, None, references=(target,))


def short_texts(file: File) -> Iterator[Example]:
    """LCSTS as published: <doc id=N> with <summary>, <short_text> and, in parts II and III, <human_label>."""
    content = file.text()
    for match in re.finditer(r"<doc id=\"?(\d+)\"?>(.*?)</doc>", content, re.DOTALL):
        parts = {tag: text.strip() for tag, text in re.findall(r"<(\w+)>(.*?)</\1>", match[2], re.DOTALL)}
        if not parts.get("summary") or not parts.get("short_text"):
            where = content.count("\n", 0, match.start()) + 1
            file.broken(where, "no summary or no short_text", match[0])
            continue
        fields = {"text": parts["short_text"], "score": parts.get("human_label", "")}
        yield Example(match[1], fields, None, references=(parts["summary"],))


def dialogues(file: File) -> Iterator[Example]:
    """CrossWOZ: a user's turn; its intents are the distinct "act/domain" of its `dialog_act`.

    `previous` is the system's turn before it. Turns without an act are left out, and counted.
    """
    for name, dialogue in json.loads(file.text()).items():
        previous = ""
        for number, turn in enumerate(dialogue["messages"]):
            if turn["role"] == "usr":
                where = f"{name}/{number}"
                intents = {file.known(f"{act}/{domain}", where) for act, domain, *_ in turn["dialog_act"]}
                if intents:
                    fields = {"text": turn["content"], "previous": previous}
                    yield Example(where, fields, JOINED.join(sorted(intents)))
                else:
                    file.pass_over()
            previous = turn["content"]


def tagged(file: File) -> Iterator[Example]:
    """Words with tags, an empty line between utterances: MixATIS and MixSNIPS (English).

    The intents follow the words, joined by "#".
    """
    line = 1
    for block in file.text().split("\n\n"):
        rows = block.strip("\n").split("\n")
        words = [row.split()[0] for row in rows if len(row.split()) > 1]
        if words and len(rows[-1].split()) == 1:
            intents = {file.known(intent, line) for intent in rows[-1].strip().split("#")}
            yield Example(str(line), {"text": " ".join(words), "previous": ""}, JOINED.join(sorted(intents)))
        elif block.strip():
            file.broken(line, "no words, or no intent", block)
        line += block.count("\n") + 2


def tagged_characters(file: File) -> Iterator[Example]:
    """CAIS: characters with tags, an empty line between utterances; the intents per line in FILE.intent."""
    kept = file.beside(f"{file.path.name}.intent")
    intents = kept.split("\n") if kept else []
    blocks = [block for block in file.text().split("\n\n") if block.strip()]
    if len(blocks) != len([intent for intent in intents if intent.strip()]):
        raise DataError(
            f"{file.task}: {file.path}.intent must have one line for each of {len(blocks)} utterances"
        )
    for number, (block, intent) in enumerate(zip(blocks, intents, strict=False), 1):
        text = "".join(row.split()[0] for row in block.split("\n") if row.strip())
        yield Example(str(number), {"text": text, "previous": ""}, file.known(intent.strip(), number))


def commands(file: File) -> Iterator[Example]:
    """SMP2019: {text, domain, intent}; the label is "domain/INTENT". Without an intent, it is left out."""
    for number, record in enumerate(json.loads(file.text())):
        if isinstance(record["intent"], str):
            label = file.known(f"{record['domain']}/{record['intent']}", number)
            yield Example(str(number), {"text": record["text"], "previous": ""}, label)
        else:
            file.pass_over()
