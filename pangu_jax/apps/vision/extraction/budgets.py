"""Budgets as a person writes them: "params<=2M", "flops<=40M", "latency<=5ms@cpu"."""

import re
from typing import Literal, NamedTuple, get_args

from pangu_jax.errors import UserError
from pangu_jax.runs import formats
from tpu_npu_backends.chips import CHIPS

Kind = Literal["params", "flops", "latency"]
HERE = "cpu"  # measured on this machine; other chips are predicted
_COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_PATTERN = re.compile(
    r"\s*(params|flops|latency)\s*<=\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*(?:@\s*([\w-]+))?\s*"
)
_FORMS = '"params<=2M", "flops<=40M" or "latency<=5ms@cpu"'


class Budget(NamedTuple):
    """What a sub-model may cost.

    Attributes:
      kind: parameters, FLOPs of a forward pass of one picture, or seconds of one of a batch.
      limit: at most so much.
      chip: of a latency, "cpu" or a name of `tpu_npu_backends.chips`; "" of the others.
      text: as it was written.
    """

    kind: Kind
    limit: float
    chip: str
    text: str

    @property
    def cost(self) -> str:
        """The name of the cost that it limits: "params", "flops", "latency@cpu"."""
        return f"{self.kind}@{self.chip}" if self.chip else self.kind

    @property
    def folder(self) -> str:
        """A name for a folder."""
        return re.sub(r"[^\w.]+", "_", self.text.replace("<=", "_")).strip("_")


def parse(text: str) -> Budget:
    """A budget; UserError where it is none."""
    if not (found := _PATTERN.fullmatch(text)):
        raise UserError(f"--budget {text!r} is not understood: write {_FORMS}")
    number, unit, chip = found.groups()[1:]
    kind: Kind = next(known for known in get_args(Kind) if known == found[1])
    scale = _SECONDS.get(unit) if kind == "latency" else _COUNTS.get(unit.lower())
    if scale is None:
        raise UserError(f"--budget {text!r}: the unit {unit!r} is not understood: write {_FORMS}")
    if kind != "latency" and chip:
        raise UserError(f"--budget {text!r}: {kind} are the same on every chip: leave @{chip} out")
    chip = chip or (HERE if kind == "latency" else "")
    if chip and chip not in CHIPS:
        raise UserError(f"--budget {text!r}: no chip {chip!r}: one of {', '.join(CHIPS)}")
    if not float(number):
        raise UserError(f"--budget {text!r}: a limit of 0 holds nothing: write {_FORMS}")
    return Budget(kind, float(number) * scale, chip, text.strip())


def amount(cost: str, value: float) -> str:
    """A cost with its unit, such as "1.2M" or "3.1 ms"."""
    if not cost.startswith("latency"):
        return formats.count(value)
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} us"
