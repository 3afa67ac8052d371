"""Makes rouge_golden.json: scores of the reference tool, ROUGE-1.5.5.pl, on made-up character sequences.

    python tests/apps/language/benchmarks/make_rouge_golden.py RELEASE-1.5.5/   # perl: XML::Parser, DB_File

Characters become numbers, since the tool drops what is not ASCII; one number per character, as at NLPCC2018.
"""

import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ALPHABET = "一二三四五六七八九十甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉"
LINE = re.compile(r"A (ROUGE-\S+) Eval (\d+)\.A R:(\S+) P:(\S+) F:(\S+)")


def pairs() -> list[tuple[str, str]]:
    """(prediction, reference): few and many distinct characters, edited copies, one character, equals."""
    draw = random.Random(5)
    made = [("一", "一"), ("一", "二三"), ("一二三四五六七八", "一二三四五六七八"), ("甲乙", "乙甲")]
    for size in (2, 3, 6, 12, 30) * 6:
        text = "".join(draw.choices(ALPHABET[:size], k=draw.randint(2, 24)))
        other = "".join(draw.choices(ALPHABET[:size], k=draw.randint(1, 24)))
        edited = "".join(c for c in text if draw.random() > 0.3) or text[0]
        made.append((edited + other[:3], text) if draw.random() < 0.5 else (other, text))
    return made


def scores(release: Path, made: list[tuple[str, str]]) -> list[dict[str, list[float]]]:
    """Of each pair, [recall, precision, F1] by name, to five digits."""
    with tempfile.TemporaryDirectory() as folder:
        evaluations = []
        for number, pair in enumerate(made):
            for kind, text in zip(("peer", "model"), pair, strict=True):
                tokens = " ".join(str(1 + ALPHABET.index(character)) for character in text)
                Path(folder, f"{kind}{number}").write_text(tokens + "\n")
            evaluations.append(
                f'<EVAL ID="{number}"><PEER-ROOT>{folder}</PEER-ROOT><MODEL-ROOT>{folder}</MODEL-ROOT>'
                f'<INPUT-FORMAT TYPE="SPL"></INPUT-FORMAT><PEERS><P ID="A">peer{number}</P></PEERS>'
                f'<MODELS><M ID="0">model{number}</M></MODELS></EVAL>'
            )
        settings = Path(folder, "settings.xml")
        settings.write_text(f'<ROUGE-EVAL version="1.5.5">{"".join(evaluations)}</ROUGE-EVAL>')
        options = ["-e", release / "data", "-a", "-d", "-n", "4", "-w", "1.2", "-2", "4", "-u", settings]
        command = ["perl", release / "ROUGE-1.5.5.pl", *options]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: list[dict[str, list[float]]] = [{} for _ in made]
    for name, number, *values in LINE.findall(output):
        found[int(number)][name] = [float(value) for value in values]
    return found


if __name__ == "__main__":
    made = pairs()
    rows = zip(made, scores(Path(sys.argv[1]), made), strict=True)
    lines = [
        json.dumps({"prediction": prediction, "reference": reference, **found}, ensure_ascii=False)
        for (prediction, reference), found in rows
    ]
    Path(__file__).with_name("rouge_golden.json").write_text(
        "[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8"
    )
