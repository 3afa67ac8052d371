#!/usr/bin/env bash
# Guessed: a split of a TFDS dataset may have any name that is an identifier; "all", for a dataset that is not split, is read by
# that name, or refused when its metadata are written.
#
# Happens (tensorflow-datasets 4.9.10): the metadata are written and the builder lists the split, but nothing of the dataset can be
# read. "all" is an alias for the sum of all splits, so a split of that name is looked up as the sum of itself, without end:
# as_data_source() and as_data_source(split="all") raise RecursionError; a slice of it, "all[:2]", NotImplementedError. The same files under another
# name are read. Who is hit: datasets of one split, which are natural to call "all". What helps: any other name, such as "train".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tensorflow-datasets==4.9.10 array-record==0.8.6 2>/dev/null

"$folder/env/bin/python" - "$folder" <<'PY' 2>/dev/null | tee "$folder/seen"
import sys
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

features = tfds.features.FeaturesDict({"number": tfds.features.Scalar(np.int64)})
for split in ("every", "all"):
    folder = Path(sys.argv[1], split, "1.0.0")
    folder.mkdir(parents=True)
    template = tfds.core.ShardedFileTemplate(
        dataset_name="numbers", data_dir=folder, filetype_suffix="array_record",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    )
    writer = ArrayRecordWriter(str(folder / f"numbers-{split}.array_record-00000-of-00001"), "group_size:1")
    for number in range(3):
        writer.write(features.serialize_example({"number": number}))
    writer.close()
    info = tfds.core.SplitInfo(name=split, shard_lengths=[3], num_bytes=30, filename_template=template)
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=[info], filename_template=template, check_data=False
    )
    builder = tfds.builder_from_directory(folder)
    print(f"{split}: the builder lists {list(builder.info.splits)}")
    for asked in (None, split, f"{split}[:2]"):
        try:
            source = builder.as_data_source() if asked is None else builder.as_data_source(split=asked)
            print(f"  {asked}: {len(source[split] if asked is None else source)} records")
        except Exception as error:
            print(f"  {asked}: {type(error).__name__}")
PY
diff "$folder/seen" - <<'SEEN'
every: the builder lists ['every']
  None: 3 records
  every: 3 records
  every[:2]: 2 records
all: the builder lists ['all']
  None: RecursionError
  all: RecursionError
  all[:2]: NotImplementedError
SEEN
