"""The feed-forward block: plain (Vaswani et al., arXiv 1706.03762) or gated (Shazeer, arXiv 2002.05202)."""

from collections.abc import Callable

import jax
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from pangu_jax.models import activations, native
from pangu_jax.models.normalization import biased
from pangu_jax.models.parameters import Tree, normal, zeros
from pangu_jax.models.placement import Placement
from pangu_jax.models.projection import project, project_back

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,  # by tanh
    "gelu_exact": activations.gelu,
    "gelu_quick": activations.quick_gelu,
    "silu": jax.nn.silu,
}


class FeedForward(nnx.Module):
    """Stacked weights: `up` [layers, embed, mlp], `gate` like it when gated, `down` of the same shape.

    Where there are biases `up_bias` (and `gate_bias`) [layers, mlp], and `out_bias` [layers, embed], which is
    added where the sum over `mlp` is.
    """

    def __init__(
        self, layers: int, d_model: int, d_ff: int, gated: bool, rngs: nnx.Rngs, biases: bool = False
    ):
        up_axes = ("layers", "embed", "mlp")
        if biases:
            for name in ("up_bias", "gate_bias")[: 1 + gated]:
                setattr(self, name, zeros((layers, d_ff), ("layers", "mlp")))
            self.out_bias = zeros((layers, d_model), ("layers", "norm"))
        self.up = normal(rngs, (layers, d_model, d_ff), up_axes, fan_in=d_model)
        if gated:
            self.gate = normal(rngs, (layers, d_model, d_ff), up_axes, fan_in=d_model)
        self.down = normal(rngs, (layers, d_model, d_ff), up_axes, fan_in=d_ff)


def feed_forward(params: Tree, x_BxTxD: jax.Array, activation: str, placement: Placement) -> jax.Array:
    """act(x up) down, or (act(x gate) * x up) down. Returns [B, T, D], a partial sum over `mlp` without
    `out_bias`.
    """
    act = ACTIVATIONS[activation]
    by_kernel = native.takes(placement, x_BxTxD, params["up"])

    def widened(name: str) -> jax.Array:
        wide_BxTxF = checkpoint_name(project(x_BxTxD, params[name], by_kernel), "up")
        return biased(wide_BxTxF, params[f"{name}_bias"]) if f"{name}_bias" in params else wide_BxTxF

    hidden_BxTxF = widened("up")
    if "gate" in params:
        hidden_BxTxF *= act(widened("gate"))
    else:
        hidden_BxTxF = act(hidden_BxTxF)
    hidden_BxTxF = placement.inside(hidden_BxTxF, ("batch", "length", "mlp"))
    return project_back(hidden_BxTxF, params["down"], by_kernel)
