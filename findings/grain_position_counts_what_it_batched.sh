#!/usr/bin/env bash
# Guessed: an iterator's saved state, set into the same pipeline with another batch size, resumes after the examples that were
# read, or is refused.
#
# Happens (grain 0.2.18): it depends on where batch() stands. After ten batches of 4, the next batch of 8 begins at example 40 when
# batch() comes after to_iter_dataset(), and in a DataLoader. When it comes before, on the MapDataset, the state says only
# {"next_index": 10}, which is ten batches of whatever size: the next one begins at 80, and examples 40 to 79 are never read.
# Halving the batch size reads examples twice instead. Nothing is refused. What helps: batch after to_iter_dataset(), or a position
# kept in examples, outside.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check grain==0.2.18 numpy==2.4.6

"$folder/env/bin/python" - <<'PY' | tee "$folder/seen"
import grain
import grain.python as pygrain


def before(size):
    return grain.MapDataset.range(200).batch(size).to_iter_dataset()


def after(size):
    return grain.MapDataset.range(200).to_iter_dataset().batch(size)


def loader(size):
    sampler = pygrain.SequentialSampler(200, pygrain.NoSharding())
    source = pygrain.RangeDataSource(0, 200, 1)
    return pygrain.DataLoader(data_source=source, sampler=sampler, operations=[pygrain.Batch(size)], worker_count=0)


for pipeline in (after, loader, before):
    begun = iter(pipeline(4))
    for _ in range(10):
        batch = next(begun)
    resumed = iter(pipeline(8))
    resumed.set_state(begun.get_state())
    print(f"{pipeline.__name__}: ended with {batch[-1]}, resumes at {next(resumed)[0]}")
PY
diff "$folder/seen" - <<'SEEN'
after: ended with 39, resumes at 40
loader: ended with 39, resumes at 40
before: ended with 39, resumes at 80
SEEN
