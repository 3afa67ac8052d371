#!/usr/bin/env bash
# Guessed: a token of added_tokens in tokenizer.json has the id that stands beside it there, or the library warns that it cannot have it: ids
# are rows of a model that was trained with them.
#
# Happens (tokenizers 0.23.3): ids of added tokens that are not in the vocab as well are not read. They are numbered in the order of the
# list from the vocab's end on. Where the list is in another order, or was cut (say, to the tokens that texts may hold), all others move to
# rows that are other tokens', and saving writes the wrong ids down. Nothing is logged, not with TOKENIZERS_LOG=debug either. What helps:
# put them into the vocab too, whose ids are kept.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3

(cd "$folder" && TOKENIZERS_LOG=debug "$folder/env/bin/python" - 2>&1 <<'PY') | tee "$folder/seen"
import json

import tokenizers

flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
listed = [{"id": 3, "content": "<three>", **flags}, {"id": 2, "content": "<two>", **flags}]
model = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}
print("tokenizers", tokenizers.__version__)
for name, added, vocab in [
    ("in another order", listed, {}),
    ("one left out", listed[:1], {}),
    ("in the vocab too", listed, {"<two>": 2, "<three>": 3}),
]:
    model["vocab"] = {"a": 0, "b": 1, **vocab}
    loaded = tokenizers.Tokenizer.from_str(json.dumps({"added_tokens": added, "model": model}))
    saved = {token["content"]: token["id"] for token in json.loads(loaded.to_str())["added_tokens"]}
    print(f"{name}: {loaded.encode('a<three>').ids}, saved as {saved}")
PY
diff "$folder/seen" - <<'SEEN'
tokenizers 0.23.3
in another order: [0, 2], saved as {'<three>': 2, '<two>': 3}
one left out: [0, 2], saved as {'<three>': 2}
in the vocab too: [0, 3], saved as {'<two>': 2, '<three>': 3}
SEEN
