"""The topology of the devices that a run has."""

from collections.abc import Sequence

import jax

from tpu_npu_backends.chips import CHIPS
from tpu_npu_backends.descriptions import BACKENDS
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.topologies import Topology, parse
from tpu_npu_backends.tpu import CHIP_OF_KIND


def topology(devices: Sequence[jax.Device]) -> Topology:
    """What the devices form together; BackendError for chips that no table here describes."""
    first = devices[0]
    if first.platform in ("cpu", "npu"):
        chips = BACKENDS[first.platform].chip_of_kind
        if first.device_kind in chips:
            return parse(f"{chips[first.device_kind]}:{len(devices)}")
    if first.platform == "tpu" and first.device_kind in CHIP_OF_KIND:
        chip = CHIPS[CHIP_OF_KIND[first.device_kind]]
        sides = [1 + max(line) - min(line) for line in zip(*(d.coords for d in devices), strict=True)]
        found = parse(f"{chip.name}:{'x'.join(map(str, sides[: chip.torus_dims]))}")
        if found.device_count != len(devices):
            raise BackendError(
                f"no layout can be planned for {len(devices)} devices of {found.describe()}: take all of its "
                f"{found.device_count}, or give train.layout = @Layout() with the sizes of its axes"
            )
        return found
    kind = first.device_kind.lower()
    for chip in CHIPS.values():
        if chip.platform == "cuda" and chip.name in kind:
            return parse(f"{chip.name}:{len(devices)}")
    raise BackendError(
        f"no layout can be planned for {first.device_kind!r}: its speeds are not in the table of chips "
        f"({', '.join(CHIPS)}); give train.layout = @Layout() with the sizes of its axes"
    )
