"""Writes latent_golden.npz: two small models of transformers with latent attention, and what they made.

    python tests/workloads/language/latent_golden.py

DeepSeek-V3 with dense layers alone. "ultra" has what openPangu-Ultra-MoE adds: norms after a block, and one
module that predicts the token after the next, both written out here. Weights are fp32 numbers that fp16
holds exactly, and are stored so. Needs torch 2.13 and transformers 5.24.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("latent_golden.npz")
LAYERS = 2
SHAPE = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": LAYERS,
    "first_k_dense_replace": LAYERS + 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4,
    "v_head_dim": 4,
    "rms_norm_eps": 1e-5,
    "n_group": 1,
    "topk_group": 1,
    "attention_bias": False,
    "tie_word_embeddings": False,
    "max_position_embeddings": 64,
}
KINDS = {
    "ultra": {"q_lora_rank": 12, "rope_interleave": True, "rope_theta": 25.6e6},
    "deepseek": {"q_lora_rank": None, "rope_interleave": False, "rope_theta": 1e4},
}
MTP_WEIGHT = 0.3


def model(kind: str):
    """A random model in fp32; scales of norms are not 1, and latents are small enough for an eps to show."""
    import torch
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    torch.manual_seed(len(kind))
    chosen = dict(KINDS[kind])
    theta = chosen.pop("rope_theta")
    config = DeepseekV3Config(
        **SHAPE, **chosen, rope_parameters={"rope_type": "default", "rope_theta": theta}
    )
    config._attn_implementation = "eager"
    made = DeepseekV3ForCausalLM(config).eval()
    if kind == "ultra":
        layers = [_sandwich(config, index) for index in range(LAYERS)]
        made.model.layers = torch.nn.ModuleList([*layers, _prediction(config)])
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            drawn = torch.randn(parameter.shape) * (0.02 if "_a_proj" in name else 0.3)
            drawn = 1 + drawn if "norm" in name else drawn
            parameter.copy_(torch.where(drawn.abs() < 1e-3, 0, drawn).half())
    return made


def _sandwich(config, index: int):
    """A layer whose branches are normed before they are added, with the names of published files."""
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3DecoderLayer, DeepseekV3RMSNorm

    class Sandwich(DeepseekV3DecoderLayer):
        def __init__(self):
            super().__init__(config, index)
            self.pre_mlp_layernorm = DeepseekV3RMSNorm(config.hidden_size, config.rms_norm_eps)
            self.post_mlp_layernorm = DeepseekV3RMSNorm(config.hidden_size, config.rms_norm_eps)

        def forward(self, hidden_states, attention_mask=None, position_embeddings=None, **_):
            x = hidden_states
            attended, _ = self.self_attn(self.input_layernorm(x), position_embeddings, attention_mask)
            x = x + self.post_attention_layernorm(attended)
            return x + self.post_mlp_layernorm(self.mlp(self.pre_mlp_layernorm(x)))

    return Sandwich()


def _prediction(config):
    """The module of arXiv 2412.19437, 2.2, one layer more in files: table and head are the model's."""
    import torch
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3RMSNorm

    width, epsilon = config.hidden_size, config.rms_norm_eps
    made = _sandwich(config, LAYERS)
    made.enorm, made.hnorm = DeepseekV3RMSNorm(width, epsilon), DeepseekV3RMSNorm(width, epsilon)
    made.eh_proj = torch.nn.Linear(2 * width, width, bias=False)
    made.shared_head = torch.nn.ModuleDict({"norm": DeepseekV3RMSNorm(width, epsilon)})
    return made


def outputs(made, kind: str, tokens_BxT: np.ndarray) -> dict[str, np.ndarray]:
    """Logits, those of the token after the next, and the gradient of the summed losses by each weight."""
    import torch

    tokens = torch.tensor(tokens_BxT)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    hidden = made.model(input_ids=inputs, use_cache=False).last_hidden_state
    logits = made.lm_head(hidden)
    loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="sum")
    found = {"logits": logits}
    if kind == "ultra":
        block = made.model.layers[LAYERS]
        positions = torch.arange(inputs.shape[1])[None]
        embedded = block.enorm(made.model.embed_tokens(targets))
        joined = block.eh_proj(torch.cat([embedded, block.hnorm(hidden)], dim=-1))
        ahead = torch.full((inputs.shape[1],) * 2, float("-inf")).triu(1)[None, None]
        out = block(joined, ahead, made.model.rotary_emb(joined, positions))
        found["next_logits"] = made.lm_head(block.shared_head["norm"](out))
        predicted = found["next_logits"][:, :-1].transpose(1, 2)
        loss = loss + MTP_WEIGHT * torch.nn.functional.cross_entropy(
            predicted, targets[:, 1:], reduction="sum"
        )
    loss.backward()
    found = {name: array.detach().numpy() for name, array in found.items()}
    gradients = {f"gradient/{name}": p.grad.numpy() for name, p in made.named_parameters()}
    return {**found, "loss": np.float32(loss.item()), **gradients}


def main() -> None:
    tokens_BxT = np.random.default_rng(0).integers(1, SHAPE["vocab_size"], (2, 13))
    arrays = {"tokens": tokens_BxT}
    for kind in KINDS:
        made = model(kind)
        for name, weight in made.named_parameters():
            arrays[f"{kind}/tensor/{name}"] = weight.detach().numpy().astype(np.float16)
        found = outputs(made, kind, tokens_BxT)
        arrays |= {f"{kind}/{name}": array for name, array in found.items()}
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
