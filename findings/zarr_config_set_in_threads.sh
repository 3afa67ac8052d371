#!/usr/bin/env bash
# Guessed: `with zarr.config.set(...)` holds inside its block, and what was set before is back after it, whatever other threads do.
#
# Happens (zarr 3.1.6, donfig 0.8.1): the configuration is the process's, and each block puts back what it found. Of two threads whose blocks
# overlap, the one that leaves first takes the setting away from the other in the middle of its block, and the one that leaves last puts
# back the other's: it stays for good. What helps: settings of the array (`array.with_config`), or one block around all threads.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check zarr==3.1.6 donfig==0.8.1.post1

(cd "$folder" && "$folder/env/bin/python" - <<'PY') | tee "$folder/seen"
import threading
from importlib.metadata import version

import zarr

KEY = "array.write_empty_chunks"
print("zarr", zarr.__version__, "donfig", version("donfig"))
print("before:", zarr.config.get(KEY))
first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()


def first():
    with zarr.config.set({KEY: True}):
        first_in.set()
        second_in.wait()
    first_out.set()


def second():
    first_in.wait()
    with zarr.config.set({KEY: True}):
        second_in.set()
        first_out.wait()
        print("inside the second block, after the first was left:", zarr.config.get(KEY))


threads = [threading.Thread(target=block) for block in (first, second)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("after both blocks:", zarr.config.get(KEY))
PY
diff "$folder/seen" - <<'SEEN'
zarr 3.1.6 donfig 0.8.1.post1
before: False
inside the second block, after the first was left: False
after both blocks: True
SEEN
