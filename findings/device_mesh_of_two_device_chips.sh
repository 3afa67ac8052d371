#!/usr/bin/env bash
# Guessed: where a chip is two devices (TPU7x, Ironwood), mesh_utils.create_device_mesh puts the two of each chip next to each other on the
# last axis of a mesh, which is documented to be the one with the most traffic: of every slice, since they share coordinates.
#
# Happens (jax 0.10.2, libtpu 0.0.42.1; topologies only, no TPU is needed): it depends on the slice. A last axis of 2 is whole chips on
# 2x2x1, 2x2x2, 2x2x4 and 4x4x4, and on 2x4x4 no pair is one chip: all of its traffic leaves the chip. A last axis of 4 is two whole chips on
# 2x4x4 and on 4x4x4 four halves. Nothing is logged. What helps: place chips, and put the devices of each along the axis yourself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 libtpu==0.0.42.1

(cd "$folder" && JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1 TPU_WORKER_HOSTNAMES=localhost TPU_ACCELERATOR_TYPE=v5p-8 \
  ALLOW_MULTIPLE_LIBTPU_LOAD=1 "$folder/env/bin/python" - 2>/dev/null <<'PY') | tee "$folder/seen"
from importlib.metadata import version

from jax.experimental import mesh_utils, topologies

print("jax", version("jax"), "libtpu", version("libtpu"))
for slice_ in ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4"):
    devices = topologies.get_topology_desc(platform="tpu", topology_name=f"tpu7x:{slice_}").devices
    for last in (2, 4):
        rows = mesh_utils.create_device_mesh((len(devices) // last, last), devices)
        whole = sum(len({tuple(device.coords) for device in row}) == last // 2 for row in rows)
        print(f"tpu7x:{slice_}, last axis {last}: {whole} of {len(rows)} groups are whole chips")
PY
diff "$folder/seen" - <<'SEEN'
jax 0.10.2 libtpu 0.0.42.1
tpu7x:2x2x1, last axis 2: 4 of 4 groups are whole chips
tpu7x:2x2x1, last axis 4: 2 of 2 groups are whole chips
tpu7x:2x2x2, last axis 2: 8 of 8 groups are whole chips
tpu7x:2x2x2, last axis 4: 4 of 4 groups are whole chips
tpu7x:2x2x4, last axis 2: 16 of 16 groups are whole chips
tpu7x:2x2x4, last axis 4: 8 of 8 groups are whole chips
tpu7x:2x4x4, last axis 2: 0 of 32 groups are whole chips
tpu7x:2x4x4, last axis 4: 16 of 16 groups are whole chips
tpu7x:4x4x4, last axis 2: 64 of 64 groups are whole chips
tpu7x:4x4x4, last axis 4: 0 of 32 groups are whole chips
SEEN
