"""What parity tests of decoders share: windows of given tokens, logits, how far numbers are apart."""

import jax
import numpy as np


def windows(tokens_BxT: np.ndarray) -> dict[str, np.ndarray]:
    """Features of one text a row, whose last token has no target."""
    ids = tokens_BxT.astype(np.int32)
    return {
        "decoder_input_tokens": ids,
        "decoder_segment_ids": np.ones_like(ids),
        "decoder_positions": np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape),
        "decoder_target_tokens": np.roll(ids, -1, 1),
        "decoder_loss_weights": np.r_["1", np.ones((len(ids), ids.shape[1] - 1)), np.zeros((len(ids), 1))],
    }


def logits_of(forward, params, given) -> np.ndarray:
    """fp32 [B, T, V]."""
    return np.asarray(jax.jit(lambda p: forward.logits(p, forward.decode(p, given)))(params))


def off(found, wanted) -> float:
    """Largest difference in units of the largest number."""
    return float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)))
