"""What a simulated kernel did wrong."""

from tpu_npu_backends.errors import BackendError

KINDS = (
    "out of bounds",  # a view past its buffer, its memory or its argument
    "unwritten",  # a read of bytes that nothing has written
    "overlap",  # a read of bytes that another allocation has written over
    "missing sync",  # two accesses to the same bytes, one of them a write, that nothing orders
    "unbalanced sync",  # a wait without a set, or a flag still set at the end
    "deadlock",  # cores that wait for each other for ever
    "arguments",  # what the caller gave does not fit the kernel
    "unsupported",  # an operation this simulator does not know
)


class Fault(BackendError):
    """A kernel that would not work on the device, or that this simulator cannot follow.

    Attributes:
      kind: one of KINDS.
      what: what happened, in words.
      where: function, line of the kernel's text, and operation.
    """

    def __init__(self, kind: str, what: str, where: str) -> None:
        self.kind, self.what, self.where = kind, what, where
        super().__init__(f"{kind}: {what} ({where})")
