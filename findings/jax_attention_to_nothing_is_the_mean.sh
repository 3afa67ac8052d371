#!/usr/bin/env bash
# Guessed: a query whose mask is False for every key gets zeros (as jax.nn.softmax(where=...) gives them), or NaN.
#
# Happens (jax 0.10.2, CPU): jax.nn.dot_product_attention gives it the mean of all values,
# masked ones included, and its gradient reaches every masked value. The mask is a large negative number in place of the score: where
# all scores have it, it cancels. A padded query, a packed batch's empty document or a caption that is missing so gets a number
# that looks like an answer, made of what it may not see.
# What helps: multiply the result by mask.any(-1).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6

JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PY' | tee "$folder/seen"
import jax
import jax.numpy as jnp

query_BxTxHxK = jax.random.normal(jax.random.key(0), (1, 2, 1, 4))
key_BxSxHxK = jax.random.normal(jax.random.key(1), (1, 3, 1, 4))
value_BxSxHxK = jnp.broadcast_to(jnp.array([1.0, 2.0, 6.0])[None, :, None, None], (1, 3, 1, 4))
mask_BxHxTxS = jnp.array([[[[True, False, False], [False, False, False]]]])


def attend(value_BxSxHxK):
    return jax.nn.dot_product_attention(query_BxTxHxK, key_BxSxHxK, value_BxSxHxK, mask=mask_BxHxTxS)[0, :, 0, 0]


print("one key, no key:", [round(float(y), 3) for y in attend(value_BxSxHxK)])
gradient_S = jax.grad(lambda value: attend(value)[1])(value_BxSxHxK)[0, :, 0, 0]
print("gradient of no key for each value:", [round(float(y), 3) for y in gradient_S])
print("softmax of no key:", jax.nn.softmax(jnp.ones(3), where=mask_BxHxTxS[0, 0, 1]).tolist())
PY
diff "$folder/seen" - <<'SEEN'
one key, no key: [1.0, 3.0]
gradient of no key for each value: [0.333, 0.333, 0.333]
softmax of no key: [0.0, 0.0, 0.0]
SEEN
