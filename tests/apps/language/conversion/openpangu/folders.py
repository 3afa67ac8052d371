"""Folders as openPangu-Embedded was published, with drawn weights: none of theirs is in the repository."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.data import published_models

Tensors = dict[str, np.ndarray]

# Of each kind what of config.json is its own. Heads of 24 are not d_model / heads.
KINDS: dict[str, dict[str, Any]] = {
    "7b": {"tie_word_embeddings": False, "head_dim": 24, "rope_theta": 16e6},
    "1b": {"tie_word_embeddings": True, "rope_theta": 4e6},
}
PRO = {
    "architectures": ["PanguProMoEForCausalLM"],
    "model_type": "PanguProMoE",
    "tie_word_embeddings": False,
    "rope_theta": 16e6,
    "num_experts": 8,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 40,
}
ULTRA = {
    "architectures": ["PanguUltraMoEForCausalLM"],
    "model_type": "pangu_ultra_moe",
    "bias": False,
    "tie_word_embeddings": False,
    "rope_theta": 25.6e6,
    "num_hidden_layers": 3,
    "attention_q_lora_dim": 24,
    "attention_kv_lora_dim": 16,
    "attention_qk_dim": 12,
    "attention_qk_rope_dim": 8,
    "attention_v_dim": 10,
    "num_routed_experts": 8,
    "num_shared_experts": 1,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 24,
    "routed_scaling_factor": 2.5,
    "num_dense_layers": 1,
    "num_mtp_layers": 1,
    "sandwich_norm": True,
}
ROUTED = {"pro": PRO, "ultra": ULTRA}
ROWS = 512


def config_of(kind: str, end: int | None = None) -> dict[str, Any]:
    """config.json."""
    return {
        "architectures": ["PanguEmbeddedForCausalLM"],
        "auto_map": {"AutoModelForCausalLM": "modeling_openpangu_dense.PanguEmbeddedForCausalLM"},
        "model_type": "PanguEmbedded",
        "bias": True,
        "bos_token_id": 1,
        "eos_token_id": published_models.end() if end is None else end,
        "pad_token_id": 0,
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 80,
        "max_position_embeddings": 32768,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "torch_dtype": "float32",
        "vocab_size": ROWS,
        **(KINDS | ROUTED)[kind],
    }


def tensors_of(kind: str) -> Tensors:
    """Weights by the published names, drawn; biases are none of them 0, which would hide one forgotten."""
    if kind in ROUTED:
        return drawn_like(routed_shapes(kind))
    config = config_of(kind)
    d, f, width = config["hidden_size"], config["intermediate_size"], config.get("head_dim", 16)
    heads, kv = config["num_attention_heads"] * width, config["num_key_value_heads"] * width
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (ROWS, d), "model.norm.weight": (d,)}
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        for part, size in {"q": heads, "k": kv, "v": kv}.items():
            shapes[f"{name}self_attn.{part}_proj.weight"] = size, d
            shapes[f"{name}self_attn.{part}_proj.bias"] = (size,)
        shapes[f"{name}self_attn.o_proj.weight"], shapes[f"{name}self_attn.o_proj.bias"] = (d, heads), (d,)
        for part, shape in {"gate": (f, d), "up": (f, d), "down": (d, f)}.items():
            shapes[f"{name}mlp.{part}_proj.weight"] = shape
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{name}{norm}.weight"] = (d,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = ROWS, d
    return drawn_like(shapes)


def feed_forward(name: str, d: int, f: int) -> dict[str, tuple[int, ...]]:
    """Shapes of one."""
    return {
        f"{name}{part}_proj.weight": (d, f) if part == "down" else (f, d) for part in ("gate", "up", "down")
    }


def routed_shapes(kind: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of what Pro MoE and Ultra have."""
    c = config_of(kind)
    d, heads, layers = c["hidden_size"], c["num_attention_heads"], c["num_hidden_layers"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (ROWS, d), "model.norm.weight": (d,)}
    shapes["lm_head.weight"] = ROWS, d
    ultra = kind == "ultra"
    for layer in range(layers + c.get("num_mtp_layers", 0)):
        name = f"model.layers.{layer}."
        own = f"{name}self_attn."
        norms = ["input_layernorm", "post_attention_layernorm"]
        if ultra:
            read, rank, rope = (
                c["attention_q_lora_dim"],
                c["attention_kv_lora_dim"],
                c["attention_qk_rope_dim"],
            )
            plain, value = c["attention_qk_dim"], c["attention_v_dim"]
            shapes |= {
                f"{own}q_a_proj.weight": (read, d),
                f"{own}q_a_layernorm.weight": (read,),
                f"{own}q_b_proj.weight": (heads * (plain + rope), read),
                f"{own}kv_a_proj_with_mqa.weight": (rank + rope, d),
                f"{own}kv_a_layernorm.weight": (rank,),
                f"{own}kv_b_proj.weight": (heads * (plain + value), rank),
                f"{own}o_proj.weight": (d, heads * value),
            }
            norms += ["pre_mlp_layernorm", "post_mlp_layernorm"]
        else:
            for part, size in {"q": d, "k": d // 2, "v": d // 2, "o": d}.items():
                shapes[f"{own}{part}_proj.weight"] = size, d
                shapes[f"{own}{part}_proj.bias"] = (size,)
        for norm in norms:
            shapes[f"{name}{norm}.weight"] = (d,)
        if layer < c.get("num_dense_layers", 0):
            shapes |= feed_forward(f"{name}mlp.", d, c["intermediate_size"])
            continue
        shapes[f"{name}mlp.gate.weight"] = 8, d
        if ultra:
            shapes[f"{name}mlp.gate.e_score_correction_bias"] = (8,)
        else:
            shapes[f"{name}mlp.router_scale"] = 1, 8
        for expert in range(8):
            shapes |= feed_forward(f"{name}mlp.experts.{expert}.", d, c["moe_intermediate_size"])
        shared = (f"{name}mlp.shared_experts.", 24) if ultra else (f"{name}mlp.shared_expert.", 40)
        shapes |= feed_forward(shared[0], d, shared[1])
    if ultra:
        name = f"model.layers.{layers}."
        shapes |= {f"{name}{norm}.weight": (d,) for norm in ("enorm", "hnorm", "shared_head.norm")}
        shapes[f"{name}eh_proj.weight"] = d, 2 * d
    return shapes


def drawn_like(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    """Weights of these shapes."""
    rng = np.random.default_rng(7)

    def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) == 2:
            return rng.normal(0, shape[1] ** -0.5, shape)
        return rng.normal(1 if "norm" in name else 0, 0.2, shape)

    found = {name: drawn(name, shape).astype(np.float32) for name, shape in shapes.items()}
    name = f"model.layers.{ULTRA['num_hidden_layers']}."
    if f"{name}enorm.weight" in found:  # published once more
        found[f"{name}embed_tokens.weight"] = found["model.embed_tokens.weight"]
        found[f"{name}shared_head.head.weight"] = found["lm_head.weight"]
    return found


def frequencies(kind: str) -> Tensors:
    """What the published files have besides parameters, in every layer."""
    config = config_of(kind)
    width = config.get("head_dim", 16)
    if kind == "ultra":
        return {}
    inverse = 1.0 / config["rope_theta"] ** (np.arange(0, width, 2) / width)
    layers = range(config["num_hidden_layers"])
    return {f"model.layers.{n}.self_attn.rotary_emb.inv_freq": inverse.astype(np.float32) for n in layers}


def write(
    folder: Path, kind: str, tensors: Tensors | None = None, shards: int = 2, config: dict | None = None
) -> Path:
    """The folder, made: shards with an index, tokenizer.model, checklist.chk."""
    folder.mkdir(parents=True)
    tensors = tensors_of(kind) | frequencies(kind) if tensors is None else tensors
    (folder / "config.json").write_text(json.dumps(config or config_of(kind)), "utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"top_p": 0.8, "do_sample": True}), "utf-8")
    (folder / "tokenizer.model").write_bytes(published_models.openpangu())
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        own = names[shard::shards]
        save_file({name: tensors[name] for name in own}, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(own, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    checklist(folder)
    return folder


def checklist(folder: Path) -> None:
    """checklist.chk of what is there."""
    files = sorted(file for file in folder.iterdir() if file.suffix != ".chk")
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in files]
    (folder / "checklist.chk").write_text("\n".join(lines) + "\n", "utf-8")
