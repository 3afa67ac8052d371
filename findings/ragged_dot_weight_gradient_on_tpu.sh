#!/usr/bin/env bash
# Guessed: the gradient of jax.lax.ragged_dot with respect to its weights costs the multiply-adds of the product itself, since each row
# is of one group: so the TPU compiler counts for both the same, however many groups there are.
#
# Happens (jax 0.10.2, libtpu 0.0.42): the product is grouped, and its weight gradient is not: every row is multiplied for every group and
# masked, 16 times the work with 16 experts. What helps: a grouped kernel for that gradient, such as JAX's megablox.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 'libtpu==0.0.42.*'

(cd "$folder" && env -u PYTHONPATH TPU_SKIP_MDS_QUERY=1 JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PY') | tee "$folder/seen"
import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

chip = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices[0]
there = SingleDeviceSharding(chip)
rows, inner, outer = 4096, 512, 512


def array(shape, dtype=jnp.bfloat16):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=there)


def counted(function, *arguments):
    cost = jax.jit(function).lower(*arguments).compile().cost_analysis()
    return cost["flops"] / (2 * rows * inner * outer)


print("jax", jax.__version__)
for groups in (4, 16):
    x, sizes = array((rows, inner)), array((groups,), jnp.int32)
    w, dy = array((groups, inner, outer)), array((rows, outer))
    forward = counted(jax.lax.ragged_dot, x, w, sizes)
    backward = counted(lambda x, w, s, dy: jax.vjp(lambda w: jax.lax.ragged_dot(x, w, s), w)[1](dy), x, w, sizes, dy)
    print(f"{groups} groups: product {forward:.1f}, weight gradient {backward:.1f} of the rows' own multiply-adds")
PY
diff "$folder/seen" - <<'SEEN'
jax 0.10.2
4 groups: product 1.0, weight gradient 4.0 of the rows' own multiply-adds
16 groups: product 1.0, weight gradient 16.0 of the rows' own multiply-adds
SEEN
