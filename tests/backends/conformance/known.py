"""Checks that are known to fail on a platform, with the reason. A test holds this list to the letter."""

_CALLBACKS = "JAX lowers calls back to Python for the platforms of its own list only"

KNOWN: dict[str, dict[str, str]] = {
    "npu": {
        "compilation_cache": "JAX keeps programs of the platforms of its own list only",
        "cost_analysis": "the inner CPU plugin does not implement it; of a lowered program it works",
        "dlpack": "DLPack has a device type for Ascend, jaxlib does not know it",
        "pure_callback": _CALLBACKS,
        "ordered_io_callback": _CALLBACKS,
        "debug_callback": _CALLBACKS,
        "debug_print": _CALLBACKS,
    },
}
