"""CANN, where it is installed: devices by AscendCL, device binaries by hivmc. Never run on hardware."""

from tpu_npu_backends.ascend.cann.installation import NEVER_RUN, VARIABLE, Installation, find

__all__ = ["NEVER_RUN", "VARIABLE", "Installation", "find"]
