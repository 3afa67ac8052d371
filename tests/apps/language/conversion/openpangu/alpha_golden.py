"""Makes alpha_golden.npz: what the plain PyTorch form of the package pcl-pangu 1.2.6.2 gives.

In an environment with torch 2.13.0 (CPU), with that package's pcl_pangu/onnx_inference/pangu/model.py alone:
python -m tests.apps.language.conversion.openpangu.alpha_golden model.py
"""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tests.apps.language.conversion.openpangu import alpha_folders as folders

FILE = Path(__file__).with_name("alpha_golden.npz")
PROMPTS = ([9, 200, 13], [300, 11, 12, 400, 401, 35, 8, 77])
WRITTEN = 64
COLUMNS = 8
# Their name of a layer's tensor; ours of the export, and whether it is transposed.
LAYER = {
    "attention.query": "attention.dense1",
    "attention.key": "attention.dense2",
    "attention.value": "attention.dense3",
    "attention.dense": "attention.projection",
    "mlp.dense_h_to_4h": "output.mapping",
    "mlp.dense_4h_to_h": "output.projection",
}
NORMS = {"input_layernorm": "layernorm1", "post_attention_layernorm": "layernorm2"}


def tokens() -> np.ndarray:
    """int64 [2, 24]."""
    return np.random.default_rng(3).integers(3, folders.ROWS, (2, 24))


def names() -> dict[str, tuple[str, bool]]:
    """Their parameter -> its name in the export, and whether it is transposed there."""
    found = {
        f"embedding.{name}_embeddings.weight": (f"backbone.{other}_embedding.embedding_table", False)
        for name, other in {"word": "word", "position": "position", "top_query": "top_query"}.items()
    }
    stacks = {f"layers.{n}": f"blocks.{n}" for n in range(folders.BLOCKS)}
    for theirs, ours in {**stacks, "topQueryLayer": "top_query_layer"}.items():
        at, here = f"transformer.{theirs}.", f"backbone.{ours}."
        for name, other in LAYER.items():
            found[f"{at}{name}.weight"] = f"{here}{other}.weight", not other.startswith("attention.dense")
            found[f"{at}{name}.bias"] = f"{here}{other}.bias", False
        for name, other in NORMS.items():
            found[f"{at}{name}.weight"] = f"{here}{other}.gamma", False
            found[f"{at}{name}.bias"] = f"{here}{other}.beta", False
    found["transformer.final_layernorm.weight"] = "backbone.layernorm.gamma", False
    found["transformer.final_layernorm.bias"] = "backbone.layernorm.beta", False
    return found


def main(file: str) -> None:
    """Writes the file."""
    import torch

    spec = importlib.util.spec_from_file_location("theirs", file)
    assert spec and spec.loader
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    config = SimpleNamespace(
        vocab_size=folders.ROWS,
        n_ctx=folders.POSITIONS,
        n_positions=folders.POSITIONS,
        n_embd=folders.WIDTH,
        n_layer=folders.BLOCKS + 1,
        n_head=folders.HEADS,
        layer_norm_epsilon=folders.EPSILON,
    )
    model, drawn = theirs.Pangu(config), folders.tensors()
    named, parameters = names(), dict(model.named_parameters())
    assert named.keys() == parameters.keys(), named.keys() ^ parameters.keys()
    for name, parameter in parameters.items():
        exported, transposed = named[name]
        tensor = drawn[exported].T if transposed else drawn[exported]
        assert parameter.shape == tensor.shape, name
        parameter.data.copy_(torch.tensor(tensor))

    def logits(ids):
        return model(ids, None, None, None, None)[0]

    ids = torch.tensor(tokens())
    out = {"logits": logits(ids)}
    loss = -torch.log_softmax(out["logits"][:, :-1], -1).gather(-1, ids[:, 1:, None]).sum()
    loss.backward()
    out = {"logits": out["logits"].detach().numpy(), "loss": loss.detach().numpy()}
    for name, parameter in parameters.items():
        exported, transposed = named[name]
        if ".blocks." in exported and ".blocks.1." not in exported:  # one block says it, and a few columns
            continue
        gradient = parameter.grad.T if transposed else parameter.grad
        out[f"gradients/{exported}"] = gradient.numpy()[..., :COLUMNS]
    with torch.no_grad():
        for number, prompt in enumerate(PROMPTS):
            written = list(prompt)
            for _ in range(WRITTEN):
                written.append(int(logits(torch.tensor([written]))[0, -1].argmax()))
            out[f"written/{number}"] = np.array(written[len(prompt) :], np.int32)
    np.savez_compressed(FILE, **out)


if __name__ == "__main__":
    main(*sys.argv[1:])
