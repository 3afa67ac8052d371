"""What a model must beat: unigram and bigram models with add-one smoothing, on the same target tokens."""

import math

import numpy as np

from data_pipelines.batches import Batch, ValidationBatches


def contexts(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The tokens the loss counts and, for each, the token before it in the text: two int64 [N].

    Inside a target that is the decoder's input; before its first token comes the last token of the same
    example's encoder input: of the prefix, or the mode token alone. A decoder alone has its own input there.
    """
    counted_BxT = batch["decoder_loss_weights"] > 0
    targets = batch["decoder_target_tokens"][counted_BxT].astype(np.int64)
    if "encoder_segment_ids" not in batch:
        return targets, batch["decoder_input_tokens"][counted_BxT].astype(np.int64)
    segments_BxT = batch["encoder_segment_ids"]
    rows = len(segments_BxT)
    last_BxS = np.zeros((rows, segments_BxT.max(initial=0) + 1), np.int64)
    # Later positions overwrite earlier ones, so the last token of each segment stays.
    last_BxS[np.arange(rows)[:, None], segments_BxT] = batch["encoder_input_tokens"]
    first_BxT = batch["decoder_positions"] == 0
    before_BxT = np.where(
        first_BxT,
        np.take_along_axis(last_BxS, batch["decoder_segment_ids"], axis=1),
        batch["decoder_input_tokens"],
    )
    return targets, before_BxT[counted_BxT].astype(np.int64)


def ngram_losses(
    train: ValidationBatches, validation: ValidationBatches, vocabulary_size: int
) -> dict[str, float]:
    """Mean -log p in nats over validation's target tokens; counts come from one pass over train's.

    p(t) = (c(t) + 1) / (n + V) and p(t | u) = (c(u, t) + 1) / (c(u) + V), with u the token before t.

    Returns:
      {"unigram": nats, "bigram": nats, "tokens": number of validation tokens}.
    """
    unigrams_V = np.zeros(vocabulary_size, np.int64)
    contexts_V = np.zeros(vocabulary_size, np.int64)
    pairs = []
    for batch in train.iterator():
        targets, before = contexts(batch)
        unigrams_V += np.bincount(targets, minlength=vocabulary_size)
        contexts_V += np.bincount(before, minlength=vocabulary_size)
        pairs.append(before * vocabulary_size + targets)
    seen, counts = np.unique(np.concatenate(pairs), return_counts=True)

    total = unigram = bigram = 0.0
    for batch in validation.iterator():
        targets, before = contexts(batch)
        pair = before * vocabulary_size + targets
        at = np.minimum(np.searchsorted(seen, pair), len(seen) - 1)
        together = np.where(seen[at] == pair, counts[at], 0)
        unigram -= np.log((unigrams_V[targets] + 1) / (unigrams_V.sum() + vocabulary_size)).sum()
        bigram -= np.log((together + 1) / (contexts_V[before] + vocabulary_size)).sum()
        total += len(targets)
    if not total:
        return {"unigram": math.nan, "bigram": math.nan, "tokens": 0}
    return {"unigram": float(unigram / total), "bigram": float(bigram / total), "tokens": int(total)}
