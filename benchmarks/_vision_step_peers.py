"""The training step of a plain ViT as others would write it: in PyTorch, and in plain JAX.

Both are what benchmarks/vision_step.py times beside this library: pre-norm blocks with biases, exact GELU,
learned positions, mean of the tokens, LayerNorm, a linear head; AdamW, fp32.
"""

import numpy as np

from benchmarks.vision_step import BATCH, CLASSES, DEPTH, HEADS, PATCH, SIZE, WIDTH, drawn

GRID = SIZE // PATCH
VALUES = PATCH * PATCH * 3


def pytorch():
    """A step in eager PyTorch: a function that makes one, and gives the loss."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(1)
    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first_norm, self.second_norm = nn.LayerNorm(WIDTH, 1e-6), nn.LayerNorm(WIDTH, 1e-6)
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x):
            batch, tokens, _ = x.shape
            qkv = self.qkv(self.first_norm(x)).reshape(batch, tokens, 3, HEADS, WIDTH // HEADS)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            heads = functional.scaled_dot_product_attention(q, k, v)
            x = x + self.out(heads.transpose(1, 2).reshape(batch, tokens, WIDTH))
            return x + self.down(functional.gelu(self.up(self.second_norm(x))))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(VALUES, WIDTH)
            self.position = nn.Parameter(0.02 * torch.randn(GRID * GRID, WIDTH))
            self.blocks = nn.Sequential(*[Block() for _ in range(DEPTH)])
            self.norm, self.head = nn.LayerNorm(WIDTH, 1e-6), nn.Linear(WIDTH, CLASSES)

        def forward(self, pixels):
            x = (pixels.float() / 255 - 0.45) / 0.25
            x = x.reshape(-1, GRID, PATCH, GRID, PATCH, 3).transpose(2, 3).reshape(-1, GRID * GRID, VALUES)
            x = self.blocks(self.embed(x) + self.position)
            return self.head(self.norm(x.mean(1)))

    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    images, labels = (torch.from_numpy(array) for array in drawn())
    labels = labels.long()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def plain_jax():
    """A step in JAX and optax alone, jitted, with JAX's own settings."""
    import jax
    import jax.numpy as jnp
    import optax

    def norm(p, x):
        x = x - x.mean(-1, keepdims=True)
        return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]

    def linear(p, x):
        return x @ p["kernel"] + p["bias"]

    def forward(params, pixels):
        x = (pixels.astype(jnp.float32) / 255 - 0.45) / 0.25
        x = x.reshape(-1, GRID, PATCH, GRID, PATCH, 3).swapaxes(2, 3).reshape(-1, GRID * GRID, VALUES)
        x = linear(params["embed"], x) + params["position"]
        for p in params["blocks"]:
            qkv = linear(p["qkv"], norm(p["first"], x)).reshape(BATCH, GRID * GRID, 3, HEADS, WIDTH // HEADS)
            heads = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
            x = x + linear(p["out"], heads.reshape(x.shape))
            hidden = jax.nn.gelu(linear(p["up"], norm(p["second"], x)), approximate=False)
            x = x + linear(p["down"], hidden)
        return linear(params["head"], norm(params["norm"], x.mean(1)))

    rng = np.random.default_rng(0)

    def dense(inputs, outputs):
        kernel = rng.standard_normal((inputs, outputs), np.float32) / inputs**0.5
        return {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(outputs)}

    def ones():
        return {"scale": jnp.ones(WIDTH), "bias": jnp.zeros(WIDTH)}

    def block():
        sizes = {"qkv": (1, 3), "out": (1, 1), "up": (1, 4), "down": (4, 1)}
        dense_ = {name: dense(a * WIDTH, b * WIDTH) for name, (a, b) in sizes.items()}
        return {**dense_, "first": ones(), "second": ones()}

    params = {
        "embed": dense(VALUES, WIDTH),
        "position": jnp.asarray(0.02 * rng.standard_normal((GRID * GRID, WIDTH), np.float32)),
        "blocks": [block() for _ in range(DEPTH)],
        "norm": ones(),
        "head": dense(WIDTH, CLASSES),
    }
    optimizer = optax.adamw(1e-3, b1=0.9, b2=0.95, weight_decay=0.01)

    @jax.jit
    def advance(params, state, images, labels):
        def loss(params):
            logits = forward(params, images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state = optimizer.init(params)
    images, labels = drawn()

    def step():
        nonlocal params, state
        params, state, value = advance(params, state, images, labels)
        return float(value)

    return step
