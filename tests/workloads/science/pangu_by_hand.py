"""Pangu-Weather window by window in NumPy, as its pseudocode and the port of its weights have it; and with
the errors of others, one at a time, which must show."""

import math

import numpy as np

# What pseudocode, ports and rewrites have got wrong: `reference` with one of them must give something else.
# Some are settings of ours.
ERRORS = (
    "padding split over both ends", "surface last", "columns before rows", "bias shared by windows",
    "relative latitude", "no mask", "mask along longitude", "no roll", "norm before", "skip last",
    "window turned", "scale of the whole width",
)  # fmt: skip


def reference(params, config, upper, surface, constants, *errors):
    """One normalised state [L, H, W, U], [H, W, S] -> the next, float64."""
    params = _float64(params)
    embedding, recovery = params["embedding"], params["recovery"]
    below = np.concatenate([surface, constants], -1)[None]
    above = _patches(upper, config.patch, errors) @ embedding["upper"] + embedding["upper_bias"]
    below = _patches(below, (1, *config.patch[1:]), errors) @ embedding["surface"] + embedding["surface_bias"]
    x = np.concatenate([above, below] if "surface last" in errors else [below, above])  # [Z, H, W, D]
    sides = x.shape[:3]
    first = x = _layer(params["layer1"], config, 0, x, errors)
    merged = _patches(x, (1, 2, 2), (), columns="columns before rows" in errors)
    x = _norm(merged, params["down"]["norm"]) @ params["down"]["kernel"]
    x = _layer(params["layer2"], config, 1, x, errors)
    x = _layer(params["layer3"], config, 2, x, errors)
    x = _unpatched(x @ params["up"]["spread"], (1, 2, 2), sides, ())
    x = _norm(x, params["up"]["norm"]) @ params["up"]["mix"]
    x = _layer(params["layer4"], config, 3, x, errors)
    x = np.concatenate([x, first] if "skip last" in errors else [first, x], -1)
    below, above = (x[-1:], x[:-1]) if "surface last" in errors else (x[:1], x[1:])
    above = _unpatched(above @ recovery["upper"], config.patch, upper.shape[:3], errors)
    below = _unpatched(below @ recovery["surface"], (1, *config.patch[1:]), (1, *surface.shape[:2]), errors)
    return above + recovery["upper_bias"], (below + recovery["surface_bias"])[0]


def _float64(tree):
    if isinstance(tree, dict):
        return {name: _float64(own) for name, own in tree.items()}
    return np.asarray(tree, np.float64)


def _added(sizes, sides, errors):
    lacking = [-size % side for size, side in zip(sizes, sides, strict=True)]
    return [(n // 2, n - n // 2) if "padding split over both ends" in errors else (0, n) for n in lacking]


def _patches(x, patch, errors, columns=False):
    x = np.pad(x, [*_added(x.shape[:3], patch, errors), (0, 0)])
    z, h, w = patch
    out = np.empty((x.shape[0] // z, x.shape[1] // h, x.shape[2] // w, z * h * w * x.shape[3]))
    for at in np.ndindex(out.shape[:3]):
        one = x[at[0] * z :][:z, at[1] * h :][:, :h, at[2] * w :][:, :, :w]
        out[at] = (one.swapaxes(1, 2) if columns else one).ravel()
    return out


def _unpatched(x, patch, sizes, errors):
    (z, h, w), added = patch, _added(sizes, patch, errors)
    out = np.empty((x.shape[0] * z, x.shape[1] * h, x.shape[2] * w, x.shape[3] // (z * h * w)))
    for i, j, k in np.ndindex(x.shape[:3]):
        out[i * z : (i + 1) * z, j * h : (j + 1) * h, k * w : (k + 1) * w] = x[i, j, k].reshape(z, h, w, -1)
    return out[tuple(slice(before, before + size) for (before, _), size in zip(added, sizes, strict=True))]


def _norm(x, norm):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * norm["scale"] + norm["bias"]


def _gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _layer(layer, config, number, x, errors):
    for block in range(config.depths[number]):
        own = {
            name: {key: a[block] for key, a in w.items()} if isinstance(w, dict) else w[block]
            for name, w in layer.items()
        }
        roll = block % 2 == 1 and "no roll" not in errors
        before = "norm before" in errors
        y = _attention(own, config, _norm(x, own["norm"]) if before else x, roll, errors)
        x = x + (y if before else _norm(y, own["norm"]))
        y = _gelu((_norm(x, own["second_norm"]) if before else x) @ own["up"] + own["up_bias"])
        y = y @ own["down"].T + own["down_bias"]
        x = x + (y if before else _norm(y, own["second_norm"]))
    return x


def _attention(own, config, x, roll, errors):
    window = config.window
    sides, added = x.shape[:3], _added(x.shape[:3], window, errors)
    x = np.pad(x, [*added, (0, 0)])
    shifts = [side // 2 for side in window]
    if roll:
        x = np.roll(x, [-shift for shift in shifts], (0, 1, 2))
    region = [np.arange(size) >= size - shift for size, shift in zip(x.shape, shifts, strict=False)]
    if "mask along longitude" not in errors:
        region[2][:] = False
    counts = [size // side for size, side in zip(x.shape, window, strict=False)]
    out = np.empty_like(x)
    for number in np.ndindex(*counts):
        at = tuple(slice(n * side, (n + 1) * side) for n, side in zip(number, window, strict=True))
        tokens = x[at].reshape(-1, x.shape[-1])
        places = np.stack(np.meshgrid(*[np.arange(side) for side in window], indexing="ij"), -1).reshape(
            -1, 3
        )
        groups = np.stack([r[s][places[:, n]] for n, (r, s) in enumerate(zip(region, at, strict=True))], -1)
        seen = np.ones((len(tokens),) * 2, bool)
        if roll and "no mask" not in errors:
            seen = (groups[:, None] == groups[None]).all(-1)
        kind = 0 if "bias shared by windows" in errors else number[0] * counts[1] + number[1]
        out[at] = _window(own, window, tokens, places, seen, kind, errors).reshape(x[at].shape)
    if roll:
        out = np.roll(out, shifts, (0, 1, 2))
    return out[tuple(slice(before, before + size) for (before, _), size in zip(added, sides, strict=True))]


def _window(own, window, tokens, places, seen, kind, errors):
    (z, h, w), (heads, _, width) = window, own["qkv"].shape[1:]
    i, j = places[:, None], places[None]  # query, key
    level, latitude = j[..., 0] * z + i[..., 0], j[..., 1] * h + i[..., 1]
    if "relative latitude" in errors:
        latitude = i[..., 1] - j[..., 1] + h - 1
    if "window turned" in errors:
        latitude = i[..., 1] * h + j[..., 1]
    offset = i[..., 2] - j[..., 2] + w - 1
    made = np.empty((len(tokens), heads, width))
    qkv = np.einsum("nd,dhpk->phnk", tokens, own["qkv"]) + own["qkv_bias"].transpose(1, 0, 2)[:, :, None]
    for head in range(heads):
        q, k, v = qkv[:, head]
        share = heads * width if "scale of the whole width" in errors else width
        scores = q @ k.T / math.sqrt(share) + own["earth_bias"][head, kind][level * h * h + latitude, offset]
        scores = np.where(seen, scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        made[:, head] = shares / shares.sum(-1, keepdims=True) @ v
    return np.einsum("nhk,dhk->nd", made, own["out"]) + own["out_bias"]
