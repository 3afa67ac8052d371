"""What of the knowledge could not be read, in lines for the person who gave it."""

from data_pipelines.corpus.reading.inputs import printable
from data_pipelines.corpus.reading.quarantine import Quarantine

WHOLE = "all of it"  # where, of what is left out whole
_LINES = 12


def lines(quarantine: Quarantine) -> list[str]:
    """A line per reason, the most frequent first: how often, where first, and what was wrong there."""
    first: dict[str, str] = {}
    for entry in quarantine.entries:
        reason, _, detail = str(entry["reason"]).partition(":")
        where = "" if entry["where"] == WHOLE else f":{entry['where']}"
        detail = f" ({detail.strip()})" if detail else ""
        first.setdefault(reason, printable(f"{entry['file']}{where}{detail}"))
    ranked = quarantine.counts.most_common()
    found = [
        f"{count:,} x {reason}, the first {first.get(reason, 'after many others')}"
        for reason, count in ranked[:_LINES]
    ]
    if more := ranked[_LINES:]:
        found.append(f"{sum(count for _, count in more):,} x {len(more)} other reasons")
    if bad := quarantine.noted["bad bytes"]:
        found.append(f"{bad:,} x a byte in no known encoding, now U+FFFD")
    return found
