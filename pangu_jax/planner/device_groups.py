"""Which devices talk in a collective of a compiled program, and along which mesh axes.

A device is its position in the mesh, row-major: what the text of a partitioned program calls it.
"""

import math
import re
from collections.abc import Iterable, Mapping

import numpy as np

from pangu_jax.planner.hlo import HloError, Instruction

_IOTA = re.compile(r"\[(?P<shape>[\d,]+)\]<=\[(?P<source>[\d,]+)\](?:T\((?P<order>[\d,]+)\))?")
_MESH = re.compile(
    r"mesh\[(?P<axes>[^\]]*)\]"
    r"(?:, device_ids=\((?:\[(?P<source>[\d,]+)\](?:T\((?P<order>[\d,]+)\))?|(?P<listed>[\d,]+))\))?"
    r" \{(?P<over>[^}]*)\}"
)
_MESH_AXIS = re.compile(r"'([^']+)'=(\d+)")
_OVER = re.compile(r"'([^']+)'(?::\((\d+)\)(\d+))?")
_BRACES = re.compile(r"\{([\d, ]*)\}")

Groups = np.ndarray  # int [groups, devices of a group]


def groups_text(collective: Instruction) -> str:
    """The text of its replica_groups; empty when it names none, which means all devices."""
    text = collective.attribute("replica_groups") or ""
    if text.startswith("mesh"):
        # Holds a comma outside of brackets.
        whole = _MESH.search(collective.attributes)
        return whole[0] if whole else text
    return text


def expand_groups(text: str, devices: int) -> Groups:
    """int [groups, devices of a group] of a `replica_groups` text; HloError for a form that is not known.

    Reads the forms that XLA prints: `{{0,1},{2,3}}`, `[2,2]<=[4]` or `[2,2]<=[2,2]T(1,0)`, and
    `mesh['a'=2,'b'=2] {'b'}`, with `, device_ids=([2,2]T(1,0))` when its devices are in another order. An
    empty one means all devices. Groups of unequal size come as the rows of the largest ones.
    """
    if not text:
        return np.arange(devices)[None]
    if text.startswith("mesh"):
        return _of_mesh(text)
    iota = _IOTA.fullmatch(text)
    if iota:
        return _iota(iota)
    if text.startswith("{"):
        rows = [[int(device) for device in row.split(",")] for row in _BRACES.findall(text) if row.strip()]
        if not rows:
            return np.arange(devices)[None]
        largest = max(map(len, rows))
        return np.array([row for row in rows if len(row) == largest])
    raise HloError(f"replica_groups in a form that is not known: {text[:60]}")


def pairs_of(collective: Instruction) -> np.ndarray:
    """int [pairs, 2] of a collective-permute: source and target."""
    text = collective.attribute("source_target_pairs") or ""
    pairs = [[int(device) for device in row.split(",")] for row in _BRACES.findall(text) if row.strip()]
    return np.array(pairs, int).reshape(-1, 2)


def axes_of(rows: Iterable[Iterable[int]], mesh_shape: Mapping[str, int]) -> tuple[str, ...]:
    """The mesh axes along which devices of a row differ, in mesh order; rows are groups or pairs."""
    rows = np.asarray(rows)
    if not rows.size:
        return ()
    devices = math.prod(mesh_shape.values())
    if rows.max() >= devices:
        raise HloError(f"the program talks to device {rows.max()} and the mesh has {devices}")
    places = np.unravel_index(rows, tuple(mesh_shape.values()))
    return tuple(
        axis
        for axis, place in zip(mesh_shape, places, strict=True)
        if (place != np.asarray(place)[:, :1]).any()
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _iota(match: re.Match) -> Groups:
    return _reordered(match).reshape(_numbers(match["shape"]))


def _reordered(match: re.Match) -> np.ndarray:
    source = _numbers(match["source"])
    devices = np.arange(math.prod(source)).reshape(source)
    return devices.transpose(_numbers(match["order"])) if match["order"] else devices


def _of_mesh(text: str) -> Groups:
    match = _MESH.fullmatch(text)
    if not match:
        raise HloError(f"replica_groups in a form that is not known: {text[:60]}")
    names, sizes = [], []
    over = {name: (int(before or 1), int(size or 0)) for name, before, size in _OVER.findall(match["over"])}
    for name, size in _MESH_AXIS.findall(match["axes"]):
        if name not in over:
            names.append((name, False))
            sizes.append(int(size))
            continue
        # A part of an axis, 'a':(before)size, is the axis cut into three.
        before, part = over[name][0], over[name][1] or int(size)
        for length, inside in ((before, False), (part, True), (int(size) // before // part, False)):
            names.append((name, inside))
            sizes.append(length)
    devices = np.arange(math.prod(sizes))
    if match["source"]:
        devices = _reordered(match)
    elif match["listed"]:
        devices = np.array(_numbers(match["listed"]))
    kept = [at for at, (_, inside) in enumerate(names) if not inside]
    grouped = [at for wanted in over for at, name in enumerate(names) if name == (wanted, True)]
    size = math.prod(sizes[at] for at in grouped)
    return devices.reshape(sizes).transpose(kept + grouped).reshape(-1, size)
