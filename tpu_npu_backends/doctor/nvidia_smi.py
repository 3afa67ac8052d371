"""What NVIDIA's own tool says of the cards, by two documented queries; drivers may say less, or otherwise."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

FIELDS = ("name", "compute_cap", "driver_version", "memory.total", "memory.used")
CARDS = ("nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits")
PEERS = ("nvidia-smi", "topo", "-p2p", "r")  # which cards read which others' memory

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_CARD = re.compile(r"GPU[0-9]+")


@dataclass(frozen=True)
class SeenCard:
    """A card; what the tool did not say is None.

    Attributes:
      name: such as "NVIDIA H100 80GB HBM3".
      capability: of its instructions, such as (9, 0).
      driver: the driver's version, such as (580, 159, 3).
      total_mib: memory.
      used_mib: of it, what is taken now.
    """

    name: str
    capability: tuple[int, int] | None = None
    driver: tuple[int, ...] | None = None
    total_mib: int | None = None
    used_mib: int | None = None


def cards(said: str) -> list[SeenCard]:
    """Of the answer to CARDS; lines of another form are left out."""
    found = []
    for line in said.splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) != len(FIELDS) or not values[0]:
            continue
        name, capability, driver, total, used = values
        capability = _numbers(capability)
        found.append(
            SeenCard(
                name,
                (capability[0], capability[1]) if capability and len(capability) == 2 else None,
                _numbers(driver),
                _number(total),
                _number(used),
            )
        )
    return found


def peers(said: str) -> Mapping[tuple[str, str], str]:
    """Of the answer to PEERS: two cards -> what the tool says of the way from the first to the second.

    Empty where the answer is no square table of cards.
    """
    rows = [_COLOURS.sub("", line).split() for line in said.splitlines()]
    head = next((row for row in rows if len(row) > 1 and all(map(_CARD.fullmatch, row))), [])
    if len(set(head)) != len(head):
        return {}
    found = {row[0]: row[1:] for row in rows if row and row is not head and row[0] in head}
    if found.keys() != set(head) or any(len(values) != len(head) for values in found.values()):
        return {}
    ways = {(a, b): value for a, values in found.items() for b, value in zip(head, values, strict=True)}
    return {(a, b): value for (a, b), value in ways.items() if a != b}


def apart(ways: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """Of `peers`: pairs that do not read each other's memory, both ways -> why, in the tool's letters."""
    names = sorted({name for pair in ways for name in pair}, key=lambda name: (len(name), name))
    found = {}
    for a, b in combinations(names, 2):
        said = [ways.get((a, b), "U"), ways.get((b, a), "U")]
        if wrong := [word for word in said if word != "OK"]:
            found[a, b] = wrong[0]
    return found


def _numbers(text: str) -> tuple[int, ...] | None:
    """Of a version: 580.159.03 -> (580, 159, 3)."""
    return tuple(map(int, text.split("."))) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})*", text) else None


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,12}", text) else None
