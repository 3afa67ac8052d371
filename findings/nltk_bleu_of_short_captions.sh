#!/usr/bin/env bash
# Guessed: BLEU-4 of captions that equal their references is 100, whether some of them are shorter than four tokens or not: a text of
# three tokens has no n-grams of four, so it adds nothing to their count.
#
# Happens (nltk 3.10.4): corpus_bleu takes the count of possible n-grams of a text to be at least 1, so each text of fewer than four
# tokens adds one 4-gram that is possible and cannot be right. Equal captions, a fifth of them of three characters as Chinese captions
# often are, come to 98.5. sacrebleu 2.6.0 says 100. What helps: another library where texts are short.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check nltk==3.10.4 sacrebleu==2.6.0

"$folder/env/bin/python" - <<'PY' | tee "$folder/seen"
from nltk.translate.bleu_score import corpus_bleu
from sacrebleu.metrics import BLEU

LONG = ["一个人在海边跑", "两只狗在草地上", "孩子们在踢足球", "女人在看一本书"]
for short in (0, 1):
    captions = [list(text) for text in [*LONG, *["一只狗"] * short]]
    nltk = 100 * corpus_bleu([[tokens] for tokens in captions], captions)
    joined = [" ".join(tokens) for tokens in captions]
    other = BLEU(tokenize="none").corpus_score(joined, [joined]).score
    print(f"{short} of {len(captions)} shorter than four tokens: nltk {nltk:.1f}, sacrebleu {other:.1f}")
PY
diff "$folder/seen" - <<'SEEN'
0 of 4 shorter than four tokens: nltk 100.0, sacrebleu 100.0
1 of 5 shorter than four tokens: nltk 98.5, sacrebleu 100.0
SEEN
