#!/usr/bin/env bash
# Guessed: optax.adamw on bfloat16 parameters keeps its moments in float32, or at least forgets a large gradient as it does
# for float32 parameters: the second moment shrinks by b2 = 0.999 per step.
#
# Happens (optax 0.2.8, jax 0.10.2, CPU): the moments take the parameters' type, and 0.999 times a bfloat16 rounds back to the
# same bfloat16. After one gradient of 100 the second moment is 10 and stays 10: 3,000 steps later it is still 10, where float32 has
# 0.497, and every update of that weight is 4.5 times too small from then on. Nothing warns; mu_dtype is for the first moment
# only. What helps: float32 parameters, cast for the forward pass.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check optax==0.2.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6

JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PY' | tee "$folder/seen"
import jax
import jax.numpy as jnp
import optax

for dtype in (jnp.float32, jnp.bfloat16):
    adamw = optax.adamw(1e-3, weight_decay=0.0)
    params = jnp.ones(1, dtype)
    state = adamw.init(params)
    update = jax.jit(adamw.update)
    _, state = update(jnp.full(1, 100, dtype), state, params)
    first = float(state[0].nu[0])
    for _ in range(3000):
        step, state = update(jnp.full(1, 0.01, dtype), state, params)
    print(f"{dtype.__name__}: {state[0].nu.dtype}, second moment {first:.3g}, then {float(state[0].nu[0]):.3g}")
PY
diff "$folder/seen" - <<'SEEN'
float32: float32, second moment 10, then 0.497
bfloat16: bfloat16, second moment 10, then 10
SEEN
