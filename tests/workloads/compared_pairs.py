"""Pairs that two small towers bring together: what a loss of a whole batch asks of every layout.

Each tower is one feed-forward block, split as those of models are; some features are dropped by each
example's key, and each example has a loss of its own besides.
"""

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.workloads import Sums, Updates, Variables
from pangu_jax.workloads.compared import ComparedWorkload
from pangu_jax.workloads.multimodal.model import contrast

WIDTH, HIDDEN = 16, 40
TOWERS = ("image", "text")


class ComparedPairs(ComparedWorkload):
    name = "compared pairs"

    def __init__(self, losses=("clip", "siglip")):
        self.losses = losses

    def init(self, key):
        drawn = jax.random.normal(key, (len(TOWERS), 2, WIDTH, HIDDEN)) / 4
        towers = {name: {"up": up, "down": down.T} for name, (up, down) in zip(TOWERS, drawn, strict=True)}
        return Variables(towers | {"join": {"log_scale": jnp.float32(1.5), "bias": jnp.float32(-3.0)}})

    def logical_axes(self):
        tower = {"up": ("embed", "mlp"), "down": ("mlp", "embed")}
        return Variables({"image": tower, "text": tower, "join": {"log_scale": (), "bias": ()}})

    def dimensions(self):
        return {"embed": WIDTH, "mlp": HIDDEN}

    def rows(self, variables, batch, keys, run):
        rows, own_B = {"weight": batch["weight"]}, 0.0
        for number, name in enumerate(TOWERS):
            x_BxD = batch[name]
            if keys is not None:
                keep = lambda key, n=number: jax.random.bernoulli(jax.random.fold_in(key, n), 0.7, (WIDTH,))  # noqa: E731
                x_BxD = x_BxD * jax.vmap(keep)(keys)
            y_BxD = self._tower(variables.params[name], name, x_BxD, run.placement)
            rows[name] = y_BxD / jnp.sqrt(jnp.sum(y_BxD**2, axis=-1, keepdims=True) + 1e-3)
            own_B += jnp.mean((y_BxD - 1) ** 2, axis=-1)
        own = jnp.sum(batch["weight"] * own_B)
        updates = Updates(rows={"own": jax.lax.stop_gradient(own_B)})
        metrics = {"loss/own": (own, jnp.sum(batch["weight"]))}
        return rows, Sums(own, jnp.float32(0), metrics, updates)

    def compared(self, variables, rows, run):
        weight_B, join = rows["weight"], variables.params["join"]
        count, total, metrics, kept = jnp.sum(weight_B), jnp.float32(0), {}, {}
        for name in self.losses:
            given = rows["image"], rows["text"], weight_B, join["log_scale"]
            if name == "siglip":
                given += (join["bias"],)
            term = getattr(contrast, name)(*given, run.placement)
            total += jnp.sum(term.loss_B)
            metrics[f"loss/{name}"] = jnp.sum(term.loss_B), count
            metrics[f"right/{name}"] = jnp.sum(term.right_B), count
            kept[name] = jax.lax.stop_gradient(term.loss_B)
        return Sums(total, count, metrics, Updates(rows=kept))

    def _tower(self, params, name, x_BxD, placement):
        params = placement.weights(params, self.logical_axes().params[name])
        x_Bx1xD = placement.enter(placement.begin(x_BxD[:, None]))
        hidden = placement.inside(jax.nn.relu(x_Bx1xD @ params["up"]), ("batch", "length", "mlp"))
        return x_BxD + placement.enter(placement.leave(hidden @ params["down"]))[:, 0]

    def batch_shapes(self, batch_size):
        wide = jax.ShapeDtypeStruct((batch_size, WIDTH), jnp.float32)
        return {"image": wide, "text": wide, "weight": jax.ShapeDtypeStruct((batch_size,), jnp.float32)}

    def train_source(self, batch_size, seed, shift=0):
        raise NotImplementedError

    def validation_sources(self, batch_size):
        return {}

    def flops_per_step(self, batch_size):
        return 1.0

    def tokens_per_step(self, batch_size):
        return batch_size


def batch_of(size, filled):
    """`size` pairs that are somewhat alike, of which the last have weight 0: `filled` of them have 1."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(size, WIDTH)).astype(np.float32)
    text = image + rng.normal(size=(size, WIDTH)).astype(np.float32)
    return {"image": image, "text": text, "weight": (np.arange(size) < filled).astype(np.float32)}
