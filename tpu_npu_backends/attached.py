"""The topology of the devices that a run has."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import jax

from tpu_npu_backends.chips import CHIPS
from tpu_npu_backends.descriptions import BACKENDS
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.gpu_cards import CARD_OF_KIND, CARDS
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
        if chip.devices > 1 and found.device_count != len(devices):
            raise BackendError(
                f"no layout can be planned for {len(devices)} devices of {found.describe()}: take all of its "
                f"{found.device_count}, or give train.layout = @Layout() with the sizes of its axes"
            )
        return found
    # To the letter: "NVIDIA GH200 480GB" is no H200, and an A100 of 40 GB none of 80.
    if first.platform in ("gpu", "cuda") and first.device_kind in CARD_OF_KIND:
        return _of_gpus(devices)
    raise BackendError(
        f"no layout can be planned for {first.device_kind!r}: its speeds are not in the table of chips "
        f"({', '.join(CHIPS)}); give train.layout = @Layout() with the sizes of its axes"
    )


def _of_gpus(devices: Sequence[jax.Device]) -> Topology:
    """Nodes of equal cards, each with the memory that the driver and JAX leave to programs."""
    card = CARDS[CARD_OF_KIND[devices[0].device_kind]]
    gpus = _of_a_node(devices, card.domain)
    found = parse(f"{card.name}:{len(devices) // gpus}x{gpus}")
    limit = _memory_limit(devices)
    return replace(found, memory_fraction=limit / found.chip.hbm_bytes) if limit else found


def _of_a_node(devices: Sequence[jax.Device], most: int) -> int:
    """GPUs of each node. JAX counts nodes as slices; where it does not, processes stand for them."""
    for number in ("slice_index", "process_index"):
        sizes = set(Counter(getattr(device, number, 0) for device in devices).values())
        if len(sizes) == 1 and (size := sizes.pop()) <= most:
            return size
    return 1


def _memory_limit(devices: Sequence[jax.Device]) -> int | None:
    """Bytes that JAX's allocator may take of a card, as it says; None where it does not."""
    for device in devices:
        if device.process_index == jax.process_index():
            try:
                said = device.memory_stats() or {}
            except jax.errors.JaxRuntimeError:  # allocators without statistics
                return None
            return said.get("bytes_limit")
    return None
