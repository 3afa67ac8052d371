"""What of the knowledge could not be read, in lines for the person who gave it."""

from data_pipelines.corpus.reading.inputs import printable
from data_pipelines.corpus.reading.quarantine import Quarantine

_LINES = 8


def lines(quarantine: Quarantine) -> list[str]:
    """A line per reason, the most frequent first: how often, and where first."""
    first: dict[str, str] = {}
    for entry in quarantine.entries:
        where = "" if entry["where"] == "all of it" else f":{entry['where']}"
        detail = printable(f"{entry['file']}{where}")
        reason = str(entry["reason"])
        key = reason.split(":")[0]
        first.setdefault(key, f"{detail} ({reason})" if reason != key else detail)
    ranked = quarantine.counts.most_common()
    found = [
        f"left out of the knowledge: {count:,} x {reason}; the first is {first.get(reason, 'not kept')}"
        for reason, count in ranked[:_LINES]
    ]
    if more := ranked[_LINES:]:
        found.append(
            f"left out of the knowledge: {sum(count for _, count in more):,} more, for {len(more)} other reasons"
        )
    if bad := quarantine.noted["bad bytes"]:
        found.append(f"{bad:,} bytes of the knowledge are in no known encoding; U+FFFD is in their place")
    return found
