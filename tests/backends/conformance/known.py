"""Checks that are known to fail on a platform, with the reason. A test holds this list to the letter."""

KNOWN: dict[str, dict[str, str]] = {
    "npu": {
        "compilation_cache": "JAX keeps programs of the platforms of its own list only",
        "cost_analysis": "the inner CPU plugin does not implement it; of a lowered program it works",
        "dlpack": "DLPack has a device type for Ascend, jaxlib does not know it",
    },
}
