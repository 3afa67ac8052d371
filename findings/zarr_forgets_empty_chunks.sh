#!/usr/bin/env bash
# Guessed: an array that was made with write_empty_chunks = True has a file for every chunk that is written, also by who opens it later.
#
# Happens (zarr 3.1.6): the setting is the open array's and is not kept in the store. Opened again, the array leaves out chunks that equal
# the fill value, without a word: a state that is all missing has no file, like one that was lost. What helps: array.with_config, or zarr.config.set with
# {"array.write_empty_chunks": True} around the opening (around the write it does nothing).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check zarr==3.1.6

(cd "$folder" && "$folder/env/bin/python" - <<'PY') | tee "$folder/seen"
from pathlib import Path

import numpy as np
import zarr

group = zarr.open_group("store", mode="w")
made = group.create_array(
    "t", shape=(3, 4), chunks=(1, 4), dtype="f4", fill_value=float("nan"), config={"write_empty_chunks": True}
)
missing = np.full(4, np.nan, "f4")
made[0] = missing
zarr.open_group("store", mode="r+")["t"][1] = missing
with zarr.config.set({"array.write_empty_chunks": True}):
    zarr.open_group("store", mode="r+")["t"][2] = missing
print("zarr", zarr.__version__)
for number, how in enumerate(("as it was made", "opened again", "opened again under the setting")):
    print(f"{how}: {'a file' if Path('store/t/c', str(number), '0').exists() else 'no file'}")
PY
diff "$folder/seen" - <<'SEEN'
zarr 3.1.6
as it was made: a file
opened again: no file
opened again under the setting: a file
SEEN
