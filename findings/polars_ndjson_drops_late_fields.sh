#!/usr/bin/env bash
# Guessed: a field that begins on line 150 of a JSON Lines file becomes a column, with nulls above it, or is an error.
#
# Happens (polars 2.1.0): read_ndjson and scan_ndjson take the schema from the first 100 lines and drop, without a word, every
# field that begins later, inside structs too. A value that does not fit the type of the first 100 is an error; a
# field that they do not have is not. A crawl whose titles or labels begin after the hundredth document loses them. What
# helps: schema=, or infer_schema_length=None.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0

cd "$folder"
"$folder/env/bin/python" - <<'PY' | tee "$folder/seen"
import json

import polars as pl

with open("documents.jsonl", "w") as file:
    for i in range(200):
        late = {"title": "a title"} if i >= 150 else {}
        file.write(json.dumps({"text": f"document {i}", "source": {"id": i} | late} | late) + "\n")

for name, frame in {
    "read_ndjson": pl.read_ndjson("documents.jsonl"),
    "scan_ndjson": pl.scan_ndjson("documents.jsonl").collect(),
    "all lines": pl.read_ndjson("documents.jsonl", infer_schema_length=None),
}.items():
    print(f"{name}: {frame.height} rows of {frame.columns}, source {frame['source'].struct.fields}")
PY
diff "$folder/seen" - <<'SEEN'
read_ndjson: 200 rows of ['text', 'source'], source ['id']
scan_ndjson: 200 rows of ['text', 'source'], source ['id']
all lines: 200 rows of ['text', 'source', 'title'], source ['id', 'title']
SEEN
