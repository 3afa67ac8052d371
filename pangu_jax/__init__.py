"""pangu_jax: train, evaluate, adapt and ship Pangu-class models in JAX.

Importing the package is cheap on purpose: no backend, no TensorFlow. Reach for the
sub-packages (`pangu_jax.models`, `pangu_jax.training`, ...) when they are needed.
"""

__version__ = "0.2.0"
