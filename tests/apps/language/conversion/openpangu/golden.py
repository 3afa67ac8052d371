"""Makes golden.npz: what transformers' LlamaForCausalLM with biases of attention gives for the drawn weights.

openPangu-Embedded's blocks are Llama's with biases (docs/openpangu.md). In an environment with torch 2.13.0
(CPU) and transformers 5.24: python -m tests.apps.language.conversion.openpangu.golden
"""

from pathlib import Path

import numpy as np

from tests.apps.language.conversion.openpangu import folders

FILE = Path(__file__).with_name("golden.npz")
PROMPTS = ([1, 9, 200, 13], [1, 300, 11, 12, 400, 401, 35, 8, 77])  # <s> first
WRITTEN = 64
COLUMNS = 8


def tokens() -> np.ndarray:
    """int64 [2, 24]."""
    return np.random.default_rng(3).integers(3, folders.ROWS, (2, 24))


def main() -> None:
    """Writes the file."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    out: dict[str, np.ndarray] = {}
    for kind in folders.KINDS:
        theirs = folders.config_of(kind)
        config = LlamaConfig(
            **{name: theirs[name] for name in (
                "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                "num_key_value_heads", "rms_norm_eps", "tie_word_embeddings",
            )},
            head_dim=theirs.get("head_dim", 16),
            attention_bias=True,
            mlp_bias=False,
            rope_parameters={"rope_type": "default", "rope_theta": theirs["rope_theta"]},
            attn_implementation="eager",
        )  # fmt: skip
        model = LlamaForCausalLM(config).float().eval()
        state = {name: torch.tensor(tensor) for name, tensor in folders.tensors_of(kind).items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
        ids = torch.tensor(tokens())
        given = model(input_ids=ids)
        log_p = torch.log_softmax(given.logits[:, :-1], -1)
        loss = -log_p.gather(-1, ids[:, 1:, None]).sum()
        loss.backward()
        out[f"{kind}/logits"], out[f"{kind}/loss"] = given.logits.detach().numpy(), loss.detach().numpy()
        for name, parameter in model.named_parameters():
            if ".layers.1." not in name:  # one layer says it, and of the tables a few columns
                out[f"{kind}/gradients/{name}"] = parameter.grad.numpy()[..., :COLUMNS]
        for number, prompt in enumerate(PROMPTS):
            written = model.generate(
                torch.tensor([prompt]),
                max_new_tokens=WRITTEN,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
            out[f"{kind}/written/{number}"] = written[0, len(prompt) :].numpy().astype(np.int32)
    np.savez_compressed(FILE, **out)


if __name__ == "__main__":
    main()
