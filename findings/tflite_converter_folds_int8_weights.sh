#!/usr/bin/env bash
# Guessed: a model that keeps its weights as int8 constants and turns them back when it runs (cast, times a scale) becomes a TFLite
# file of about the size of the int8 weights: 512 x 512 of them are 262,144 bytes.
#
# Happens (TensorFlow 2.21.0): the converter carries the cast and the product out while it converts, since both sides are constants,
# and stores the fp32 result: 1,049,524 bytes, four times as many, and no int8 tensor is left. Nothing is said, and the answers are
# the same, so only the size tells. What helps: a format's own operation for it (DEQUANTIZE on a quantised tensor), written directly.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tensorflow==2.21.0 numpy==2.4.6

TF_CPP_MIN_LOG_LEVEL=3 "$folder/env/bin/python" - 2>"$folder/log" <<'PY' | tee "$folder/seen"
import numpy as np
import tensorflow as tf

weights = np.random.default_rng(0).integers(-127, 128, (512, 512), dtype=np.int8)
scales = np.linspace(0.001, 0.002, 512, dtype=np.float32)


class Layer(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 512], tf.float32)])
    def __call__(self, x):
        return tf.matmul(x, tf.cast(tf.constant(weights), tf.float32) * scales)


layer = Layer()
function = layer.__call__.get_concrete_function()
model = tf.lite.TFLiteConverter.from_concrete_functions([function], layer).convert()
interpreter = tf.lite.Interpreter(model_content=model)
interpreter.allocate_tensors()
types = {np.dtype(one["dtype"]).name for one in interpreter.get_tensor_details() if 512 * 512 == np.prod(one["shape"])}
print(f"int8 weights: {weights.nbytes} bytes; file: {round(len(model) / weights.nbytes)} times as many; weights in it: {types}")
PY
diff "$folder/seen" - <<'SEEN'
int8 weights: 262144 bytes; file: 4 times as many; weights in it: {'float32'}
SEEN
