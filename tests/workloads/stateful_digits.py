"""Digits with all kinds of extra state, and towers: what the seam must carry on every layout.

A patch embedding, normalised by running statistics; residual blocks, which a pipeline can cut; a head. The
loss pulls logits towards those of an averaged teacher, and features away from a queue of the last 256.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from examples.digits import CLASSES, PIXELS, Digits
from pangu_jax.workloads import PipelinedWorkload, Sums, Updates, Variables

WIDTH, HIDDEN, LAYERS, QUEUE = 32, 64, 4, 256
MOMENTUM = 0.9


class StatefulDigits(Digits, PipelinedWorkload):
    name = "stateful digits"

    def init(self, key):
        embed, up, down, head, queue = jax.random.split(key, 5)
        params = {
            "embed": {"kernel": jax.random.normal(embed, (PIXELS, WIDTH)) / 8},
            "blocks": {
                "up": jax.random.normal(up, (LAYERS, WIDTH, HIDDEN)) / 6,
                "down": jax.random.normal(down, (LAYERS, HIDDEN, WIDTH)) / 8,
            },
            "head": {"kernel": jax.random.normal(head, (WIDTH, CLASSES)) / 6, "bias": jnp.zeros(CLASSES)},
        }
        extra = {
            "teacher": params,
            "queue": jax.random.normal(queue, (QUEUE, WIDTH)),
            "statistics": {"mean": jnp.zeros(WIDTH), "variance": jnp.ones(WIDTH), "seen": jnp.zeros(())},
        }
        return Variables(params, extra)

    def logical_axes(self):
        params = {
            "embed": {"kernel": (None, "embed")},
            "blocks": {"up": ("layers", "embed", "mlp"), "down": ("layers", "mlp", "embed")},
            "head": {"kernel": ("embed", None), "bias": (None,)},
        }
        statistics = {"mean": ("norm",), "variance": ("norm",), "seen": ()}
        return Variables(params, {"teacher": params, "queue": (None, "norm"), "statistics": statistics})

    def dimensions(self):
        return {"embed": WIDTH, "mlp": HIDDEN, "block_layers": LAYERS, "length": 1}

    def loss(self, variables, batch, keys, run):
        program = self.program(run, variables.extra, variables.constants)
        params, part = variables.params, _Part(batch)
        shared = {name: params[name] for name in ("embed", "head")}
        axes = self.logical_axes().params
        shared = run.placement.weights(shared, {name: axes[name] for name in shared})
        payload = program.begin(0, shared, {}, part)
        payload = program.run(0, params["blocks"], shared, payload, part, 0)
        return program.finish(shared, payload, part)

    def program(self, run, extra, constants):
        return Program(run, extra, self.logical_axes())

    def after_step(self, variables, updates):
        params, extra = variables.params, variables.extra
        mean, square = (updates.totals[name] / updates.totals["count"] for name in ("sum", "square"))
        new = {"mean": mean, "variance": square - mean**2}
        old = extra["statistics"]
        blend = lambda old, new: MOMENTUM * old + (1 - MOMENTUM) * new  # noqa: E731
        return {
            "teacher": jax.tree.map(blend, extra["teacher"], params),
            "queue": jnp.concatenate([extra["queue"], updates.rows["features"]])[-QUEUE:],
            "statistics": {name: blend(old[name], value) for name, value in new.items()}
            | {"seen": old["seen"] + updates.totals["count"]},
        }

    def evaluated(self, variables):
        return variables._replace(params=variables.extra["teacher"])

    def fingerprint(self):
        return {"classes": "10"}


class _Part:
    def __init__(self, batch):
        self.batch, self.keys = batch, None


class Program:
    towers = ("blocks",)

    def __init__(self, run, extra, axes):
        self._run, self._extra, self._axes = run, extra, axes

    def begin(self, tower, shared, payload, part):
        x_BxD = self._normalised(self._embedded(shared, part))
        return {"x": self._run.placement.begin(x_BxD[:, None])}

    def run(self, tower, layers, shared, payload, part, first):
        return payload | {"x": self._blocks(layers, payload["x"])}

    def finish(self, shared, payload, part):
        labels_B = part.batch["labels"]
        features_BxD = self._run.placement.enter(payload["x"])[:, 0]
        logits_BxC = features_BxD @ shared["head"]["kernel"] + shared["head"]["bias"]
        teacher_BxC = jax.lax.stop_gradient(self._taught(part))
        queue_QxD = self._extra["queue"]
        unit = lambda x: x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-3)  # noqa: E731
        near_B = jnp.mean((unit(features_BxD) @ unit(queue_QxD).T) ** 2, axis=-1)
        loss_B = optax.softmax_cross_entropy_with_integer_labels(logits_BxC, labels_B)
        loss_B += 0.1 * jnp.mean((logits_BxC - teacher_BxC) ** 2, axis=-1) + 0.1 * near_B
        raw_BxD = self._embedded(shared, part)
        count = jnp.asarray(len(labels_B), jnp.float32)
        totals = {"sum": jnp.sum(raw_BxD, 0), "square": jnp.sum(raw_BxD**2, 0), "count": count}
        totals = jax.lax.stop_gradient(totals)
        rows = {"features": jax.lax.stop_gradient(features_BxD)}
        correct = jnp.sum(jnp.argmax(logits_BxC, -1) == labels_B)
        metrics = {"loss/digits": (jnp.sum(loss_B), count), "accuracy": (correct, count)}
        return Sums(jnp.sum(loss_B), count, metrics, Updates(totals, rows))

    def rematerialise(self, function):
        return jax.checkpoint(function)

    def _embedded(self, shared, part):
        return part.batch["images"].astype(self._run.dtype) @ shared["embed"]["kernel"]

    def _normalised(self, x_BxD):
        statistics = self._extra["statistics"]
        return (x_BxD - statistics["mean"]) * jax.lax.rsqrt(statistics["variance"] + 1e-3)

    def _blocks(self, layers, x_Bx1xD):
        axes = {name: axes[1:] for name, axes in self._axes.params["blocks"].items()}
        placement = self._run.placement

        def block(x_Bx1xD, layer):
            layer = placement.weights(layer, axes)
            hidden = jax.nn.relu(placement.enter(x_Bx1xD) @ layer["up"])
            hidden = placement.inside(hidden, ("batch", "length", "mlp"))
            return x_Bx1xD + placement.leave(hidden @ layer["down"]), None

        return jax.lax.scan(block, x_Bx1xD, layers)[0]

    def _taught(self, part):
        """The teacher's logits; it is whole over stages, and otherwise stored as the parameters are."""
        teacher = self._extra["teacher"]
        shared = {name: teacher[name] for name in ("embed", "head")}
        shared = self._run.placement.weights(shared, {name: self._axes.params[name] for name in shared})
        x = self._blocks(teacher["blocks"], self.begin(0, shared, {}, part)["x"])
        features_BxD = self._run.placement.enter(x)[:, 0]
        return features_BxD @ shared["head"]["kernel"] + shared["head"]["bias"]


def numpy_tree(tree):
    return jax.tree.map(np.asarray, jax.device_get(tree))
