"""jit, differentiation, batching and control flow."""

import jax
import jax.numpy as jnp

_X = jnp.linspace(-2.0, 2.0, 12).reshape(3, 4)


def _network(w, x):
    return jnp.tanh(x @ w).sum()


def jit(devices):
    return jax.jit(lambda x: jnp.sin(x) * 2 + 1)(_X)


def eager(devices):
    return jnp.exp(jnp.array(_X)) - 1


def static_argument(devices):
    power = jax.jit(lambda x, n: x**n, static_argnums=1)
    return power(_X, 2), power(_X, 3)


def nested_jit(devices):
    inner = jax.jit(lambda x: x * 3)
    return jax.jit(lambda x: inner(x) + inner(x + 1))(_X)


def grad(devices):
    return jax.jit(jax.grad(_network))(jnp.ones((4, 5)), _X)


def value_and_grad(devices):
    return jax.jit(jax.value_and_grad(_network, argnums=(0, 1)))(jnp.ones((4, 5)) / 7, _X)


def jvp(devices):
    return jax.jit(lambda x: jax.jvp(jnp.tanh, (x,), (x * 2,)))(_X)


def hessian(devices):
    return jax.jit(jax.hessian(lambda x: jnp.sum(x**3)))(_X[0])


def vmap(devices):
    return jax.jit(jax.vmap(lambda a, b: jnp.dot(a, b)))(_X, _X)


def gradients_of_examples(devices):
    return jax.jit(jax.vmap(jax.grad(lambda x, w: jnp.tanh(x @ w)), in_axes=(0, None)))(_X, _X[0])


def remat(devices):
    block = jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))
    return jax.jit(jax.grad(lambda x: block(x).sum()))(_X)


def custom_vjp(devices):
    @jax.custom_vjp
    def clipped(x):
        return x

    clipped.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -0.5, 0.5),))
    return jax.jit(jax.grad(lambda x: (clipped(x) ** 2).sum()))(_X)


def scan(devices):
    return jax.jit(lambda x: jax.lax.scan(lambda c, row: (c + row, c * row), x[0], x))(_X)


def gradient_of_scan(devices):
    def total(x):
        return jax.lax.scan(lambda c, row: (jnp.tanh(c + row), c), x[0], x)[0].sum()

    return jax.jit(jax.grad(total))(_X)


def while_loop(devices):
    return jax.jit(lambda n: jax.lax.while_loop(lambda c: c < 100, lambda c: c * 3 + 1, n))(2)


def fori_loop(devices):
    return jax.jit(lambda x: jax.lax.fori_loop(0, 5, lambda i, c: c * 0.5 + i, x))(_X)


def cond(devices):
    branch = jax.jit(lambda p, x: jax.lax.cond(p, jnp.sin, jnp.cos, x))
    return branch(True, _X), branch(False, _X)


def switch(devices):
    branch = jax.jit(lambda i, x: jax.lax.switch(i, [jnp.sin, jnp.cos, jnp.tanh], x))
    return [branch(i, _X) for i in range(3)]


def associative_scan(devices):
    return jax.jit(lambda x: jax.lax.associative_scan(jnp.maximum, x))(_X)


CHECKS = (
    *(jit, eager, static_argument, nested_jit, grad, value_and_grad, jvp, hessian, vmap),
    *(gradients_of_examples, remat, custom_vjp, scan, gradient_of_scan, while_loop, fori_loop, cond, switch),
    associative_scan,
)
