"""What `pangu eval` says of a run of pictures and captions: JSON, and tables for a terminal."""

from typing import Any

from pangu_jax import text_tables
from pangu_jax.apps.multimodal.measuring.evaluate_retrieval import MeasuredRetrieval
from pangu_jax.apps.multimodal.recall import RetrievalScores

WAYS = (("text_to_image", "text to picture"), ("image_to_text", "picture to text"))


def as_json(found: MeasuredRetrieval) -> dict[str, Any]:
    """All of it: `recall_at_K` and `median_rank` by way, `caption_nats_per_character`, and what is beside."""
    value: dict[str, Any] = {"step": found.step}
    if found.retrieval:
        value |= found.retrieval.as_dict()
    if found.by_sentence:
        value["by_sentence"] = found.by_sentence.as_dict()
    if found.nats:
        value["caption_nats_per_character"] = found.nats
        value["caption_gap_interval_95"] = found.gap_interval
    if found.scores:
        value["captions"] = found.scores.as_dict()
    if found.zero_shot:
        value["zero_shot"] = found.zero_shot.as_dict()
    return value | {"pictures": found.pictures, "texts": found.texts}


def text(found: MeasuredRetrieval) -> str:
    """Tables, each with its intervals."""
    parts = [f"{found.pictures} pictures and {found.texts} texts that were held out, step {found.step}"]
    if found.retrieval:
        parts.append(_retrieval(found.retrieval))
    if found.nats and found.gap_interval:
        low, high = found.gap_interval
        gap = found.nats["wrong_image"] - found.nats["right_image"]
        rows = [
            ["beside its picture", f"{found.nats['right_image']:.3f}"],
            ["beside a wrong one", f"{found.nats['wrong_image']:.3f}"],
            ["difference", f"{gap:.3f} ({low:.3f} to {high:.3f})"],
        ]
        parts.append(text_tables.render(["captions", "nats per character"], rows))
    if (scores := found.scores) is not None:
        rows = [
            [name, f"{score.value:.1f} ({score.low:.1f} to {score.high:.1f})"]
            for name, score in (
                ("CIDEr", scores.cider),
                ("BLEU-4", scores.bleu_4),
                ("ROUGE-L", scores.rouge_l),
            )
        ]
        parts.append(text_tables.render([f"written, by {scores.segmentation}", "score"], rows))
    if (named := found.zero_shot) is not None:
        low, high = named.interval_95
        rows = [
            [
                f"{named.accuracy:.1f} ({low:.1f} to {high:.1f})",
                f"{named.accuracy_at_5:.1f}",
                f"{named.commonest:.1f}",
            ]
        ]
        parts.append(
            text_tables.render(["classes by their names, % right", "among five", "commonest class"], rows)
        )
    return "\n\n".join(parts)


def _retrieval(scores: RetrievalScores) -> str:
    rows = []
    for name, by_way in scores.values.items():
        row = [name.replace("_", " ")]
        for way, _ in WAYS:
            low, high = scores.interval_95[name][way]
            chance = scores.chance.get(name, {}).get(way)
            row += [f"{by_way[way]:.1f} ({low:.1f} to {high:.1f})", "" if chance is None else f"{chance:.1f}"]
        rows.append(row)
    headings = ["", *(heading for _, words in WAYS for heading in (words, "chance"))]
    return text_tables.render(headings, rows)
