"""What was left out, in a line each: for the terminal, reports, cards and messages alike."""

from collections.abc import Mapping

_NAMED = 8  # kinds and reasons in a line, the most frequent


def lines(
    skipped: Mapping[str, int], quarantined: Mapping[str, int], noted: Mapping[str, int], read: int
) -> list[str]:
    """Files passed over, documents put aside and what was noted, a line for each of these that there is."""
    return [line for line in (files(skipped), documents(quarantined, read), notes(noted)) if line]


def files(skipped: Mapping[str, int]) -> str:
    """Files that nobody opened, by suffix, or by what else they were ("no regular file")."""
    unknown = {kind: count for kind, count in skipped.items() if kind[:1] == "." or kind == "no suffix"}
    others = {kind: count for kind, count in skipped.items() if kind not in unknown}
    said = []
    if total := sum(unknown.values()):
        said.append(f"{total:,} file{_s(total)} of kinds not known ({_listed(unknown)})")
    if others:
        said.append(_listed(others))
    return f"passed over: {', '.join(said)}" if said else ""


def documents(quarantined: Mapping[str, int], read: int) -> str:
    """What could not be read, by reason, with its share of that and the `read` documents together."""
    total = sum(quarantined.values())
    if not total:
        return ""
    share = f"{total / (total + read):.1%}"
    share = "less than 0.1%" if share == "0.0%" else share
    return f"put aside: {total:,} of {total + read:,} documents and lines ({share}): {_listed(quarantined)}"


def notes(noted: Mapping[str, int]) -> str:
    """What was repaired, or left out on purpose."""
    return f"noted: {_listed(noted)}" if any(noted.values()) else ""


def _listed(counts: Mapping[str, int]) -> str:
    ordered = sorted(((name, count) for name, count in counts.items() if count), key=lambda c: (-c[1], c[0]))
    said = [f"{name} {count:,}" for name, count in ordered[:_NAMED]]
    if more := len(ordered) - _NAMED:
        said += [f"{more} more"] if more > 0 else []
    return ", ".join(said)


def _s(count: int) -> str:
    return "" if count == 1 else "s"
