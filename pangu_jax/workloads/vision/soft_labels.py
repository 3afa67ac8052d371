"""What one model tells another of a picture: the whole distribution over classes (Hinton et al., arXiv
1503.02531)."""

import jax
import jax.numpy as jnp


def divergence(teacher_BxC: jax.Array, student_BxC: jax.Array, temperature: float) -> jax.Array:
    """T^2 KL(teacher || student) of each picture, fp32 [B], from logits; no gradient reaches the teacher.

    The factor keeps gradients as large whatever the temperature.
    """
    teacher_BxC = jax.lax.stop_gradient(teacher_BxC.astype(jnp.float32)) / temperature
    logs_BxC = jax.nn.log_softmax(teacher_BxC)
    own_BxC = jax.nn.log_softmax(student_BxC.astype(jnp.float32) / temperature)
    return temperature**2 * jnp.sum(jnp.exp(logs_BxC) * (logs_BxC - own_BxC), axis=1)
