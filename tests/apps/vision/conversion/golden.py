"""Writes golden.jsonl: names and shapes of small models of timm, transformers, big_vision and HiViT, and what
they made of the same pictures. Their weights are drawn from their names (`drawn`), here and in the tests.

    BIG_VISION=DIR HIVIT=DIR python tests/apps/vision/conversion/golden.py

Needs torch, transformers, timm 1.0.31, and the sources of big_vision (big_vision/models/vit.py) and of HiViT
(self_supervised/models) in those folders; none of them is here. What of torchvision timm and HiViT import is
replaced by nothing: a vision transformer uses none of it.
"""

import importlib
import json
import os
import sys
import types
from pathlib import Path

import ml_dtypes
import numpy as np

FILE = Path(__file__).with_name("golden.jsonl")
SIDE, PICTURES = 12, 2
CLASSES = 5
SHAPE = {
    "img_size": SIDE,
    "patch_size": 4,
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "num_classes": CLASSES,
}
TIMM = {
    "token": {},
    "mean": {"global_pool": "avg", "class_token": False, "qkv_bias": False, "act_layer": "gelu_tanh"},
    "mean_of_all_norms": {"global_pool": "avg", "fc_norm": False, "no_embed_class": True, "in_chans": 1},
    "map": {"global_pool": "map", "class_token": False, "mlp_ratio": 2.25},
}
HUGGING_FACE = {
    "classes": {"hidden_act": "gelu", "layer_norm_eps": 1e-3},
    "pooler": {"hidden_act": "gelu_pytorch_tanh", "qkv_bias": False, "pooler_output_size": 6},
}
BIG_VISION = {
    "tok": {"pool_type": "tok"},
    "gap": {"pool_type": "gap", "rep_size": 6, "scan": True},
    "map": {"pool_type": "map"},
    "sines": {"pool_type": "gap", "posemb": "sincos2d"},
}
LARGER, SMALLER = 20, 8  # sides of pictures that positions are resized for


def pictures(side: int = SIDE, channels: int = 3) -> np.ndarray:
    """uint8 [2, side, side, channels]."""
    return np.random.RandomState(side).randint(0, 256, (PICTURES, side, side, channels), np.uint8)


def drawn(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A weight, fp32, that bf16 holds exactly: near 1 for scales, and nowhere at its initial value.

    By the generator of NumPy whose numbers never change.
    """
    values = np.random.RandomState([seed, *name.encode()]).normal(0, 0.25, shape)
    if name.endswith("scale") or ("norm" in name and name.endswith("weight")):
        values = values + 1
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)


def stub_torchvision() -> None:
    """timm and HiViT import names of torchvision that no vision transformer of theirs uses."""

    class Anything(type):
        def __getattr__(cls, name: str) -> str:
            if name.startswith("__"):
                raise AttributeError(name)
            return name

    class Empty(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            return Anything(name, (), {})

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "torchvision":
                return importlib.machinery.ModuleSpec(name, self, is_package=True)
            return None

        def create_module(self, spec):
            return Empty(spec.name)

        def exec_module(self, module) -> None:
            module.__path__ = []

    sys.meta_path.insert(0, Finder())


def filled(model, seed: int):
    """A model of torch in evaluation, with drawn weights."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(drawn(name, tuple(parameter.shape), seed)))
    return model.eval()


def torch_pixels(images: np.ndarray, mean, deviation):
    import torch

    values = (images / 255.0 - np.asarray(mean)) / np.asarray(deviation)
    return torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32))


def of_timm(golden: dict) -> None:
    import timm
    import torch
    from timm.layers import resample_abs_pos_embed
    from timm.models import _hub
    from timm.models.vision_transformer import VisionTransformer

    for seed, (kind, changes) in enumerate(TIMM.items()):
        made = timm.create_model("vit_base_patch16_224", **(SHAPE | changes))
        assert type(made) is VisionTransformer
        filled(made, seed)
        mean, deviation = (0.5,) * made.in_chans, (0.25,) * made.in_chans
        given = torch_pixels(pictures(channels=made.in_chans), mean, deviation)
        with torch.no_grad():
            logits = made(given).numpy()
        folder = Path(os.environ["TMPDIR"]) / kind
        data = {"mean": mean, "std": deviation, "input_size": (made.in_chans, SIDE, SIDE)}
        _hub.save_for_hf(made, folder, safe_serialization=True, data_config=data)
        config = json.loads((folder / "config.json").read_text())
        store(golden, f"timm/{kind}", seed, made.state_dict(), logits, config)
        again = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        with torch.no_grad():
            np.testing.assert_array_equal(again(given).numpy(), logits)
    # positions of "token" on a larger grid, and what comes out then
    shapes = golden["timm/token"]["shapes"]
    state = {name: torch.from_numpy(drawn(name, tuple(shape), 0)) for name, shape in shapes.items()}
    for side in (LARGER, SMALLER):
        positions = resample_abs_pos_embed(state["pos_embed"], [side // 4] * 2, num_prefix_tokens=1)
        made = timm.create_model("vit_base_patch16_224", **SHAPE | {"img_size": side})
        made.load_state_dict(state | {"pos_embed": positions})
        with torch.no_grad():
            logits = made.eval()(torch_pixels(pictures(side), (0.5,) * 3, (0.25,) * 3)).numpy()
        golden[f"timm/{side}"] = {"positions": positions[0].tolist(), "logits": logits.tolist()}


def of_hugging_face(golden: dict) -> None:
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import ViTConfig, ViTForImageClassification, ViTModel

    sizes = {
        "image_size": SIDE,
        "patch_size": 4,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "num_labels": CLASSES,
    }
    given = torch_pixels(pictures(), 0.5, 0.5)
    for seed, (kind, changes) in enumerate(HUGGING_FACE.items()):
        make = ViTForImageClassification if kind == "classes" else ViTModel
        folder = Path(os.environ["TMPDIR"]) / f"hf-{kind}"
        make(ViTConfig(**sizes, **changes)).save_pretrained(folder)
        file = folder / "model.safetensors"  # whose names are not those of the modules
        state = {name: drawn(name, tuple(t.shape), 10 + seed) for name, t in load_file(file).items()}
        save_file({name: torch.from_numpy(value) for name, value in state.items()}, file, {"format": "pt"})
        with torch.no_grad():
            out = make.from_pretrained(folder).eval()(given)
        found = out.logits if kind == "classes" else out.pooler_output
        config = json.loads((folder / "config.json").read_text())
        store(golden, f"hf/{kind}", 10 + seed, state, found.numpy(), config)


def of_big_vision(golden: dict) -> None:
    import jax
    import jax.numpy as jnp

    package = types.ModuleType("big_vision")
    package.__path__ = [str(Path(os.environ["BIG_VISION"]) / "big_vision")]
    package.utils = types.ModuleType("big_vision.utils")
    sys.modules |= {"big_vision": package, "big_vision.utils": package.utils}
    models = types.ModuleType("big_vision.models")
    models.__path__ = [str(Path(os.environ["BIG_VISION"]) / "big_vision/models")]
    models.common = types.ModuleType("big_vision.models.common")
    sys.modules |= {"big_vision.models": models, "big_vision.models.common": models.common}
    vit = importlib.import_module("big_vision.models.vit")

    given = jnp.asarray((pictures() / 255.0 - 0.5) / 0.5, jnp.float32)
    sizes = {"patch_size": (4, 4), "width": 16, "depth": 2, "mlp_dim": 24, "num_heads": 2}
    for seed, (kind, changes) in enumerate(BIG_VISION.items()):
        made = vit.Model(CLASSES, **sizes, **changes)
        shapes = jax.eval_shape(made.init, jax.random.key(0), given)["params"]
        leaves = jax.tree.leaves_with_path(shapes)
        names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
        names = [f"params/{name}" for name in names]
        weights = [drawn(name, leaf.shape, 20 + seed) for name, (_, leaf) in zip(names, leaves, strict=True)]
        params = jax.tree.unflatten(jax.tree.structure(shapes), weights)
        logits, _ = made.apply({"params": params}, given)
        state = dict(zip(names, weights, strict=True))
        store(golden, f"big_vision/{kind}", 20 + seed, state, np.asarray(logits))


def of_hivit(golden: dict) -> None:
    """The masked model, its features of all units, and the names that are left out."""
    import torch

    root = Path(os.environ["HIVIT"])
    sys.path.insert(0, str(root))
    import timm.layers
    import timm.models.vision_transformer as theirs

    theirs.DropPath = timm.layers.DropPath
    sys.modules.setdefault("timm.models.layers", timm.layers)
    models = importlib.import_module("models_hivit")
    made = models.HiViT(
        img_size=16, patch_size=8, embed_dim=32, depths=[1, 2, 2], num_heads=2, rpe=False,
        norm_layer=lambda width: torch.nn.LayerNorm(width, eps=1e-6), num_classes=CLASSES,
    )  # fmt: skip
    filled(made, 30)
    given = torch_pixels(pictures(16), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        found = made.forward_features(given)
    store(golden, "hivit/features", 30, made.state_dict(), found.numpy())


def store(golden: dict, name: str, seed: int, state, logits: np.ndarray, config: dict | None = None) -> None:
    shapes = {key: list(value.shape) for key, value in state.items()}
    golden[name] = {"seed": seed, "shapes": shapes, "logits": logits.tolist(), "config": config}


def main() -> None:
    golden: dict = {}
    of_hugging_face(golden)
    stub_torchvision()  # after transformers, which asks for its version
    of_timm(golden)
    of_big_vision(golden)
    of_hivit(golden)
    FILE.write_text("".join(json.dumps({name: value}) + "\n" for name, value in golden.items()), "utf-8")


if __name__ == "__main__":
    main()
