"""What a check found, and how to fix it."""

from dataclasses import dataclass
from typing import Any, Literal

from tpu_npu_backends.errors import BackendError

# "absent": not there, and nothing needs it. "untried": something before it was wrong.
Status = Literal["ok", "absent", "wrong", "untried"]


@dataclass(frozen=True)
class Finding:
    """One row of the doctor's table.

    Attributes:
      check: what was looked at, a word or two.
      found: what was found, one line.
      status: whether that is as it should be.
      remedy: how to fix it, one line; empty where there is nothing to fix.
    """

    check: str
    found: str
    status: Status = "ok"
    remedy: str = ""

    @classmethod
    def of(cls, check: str, error: BackendError) -> "Finding":
        """Of an error: what follows the first semicolon of its line is the remedy."""
        what, _, remedy = str(error).partition("; ")
        return cls(check, what, "wrong", remedy)


@dataclass(frozen=True)
class Examination:
    """All that was found of a backend.

    Attributes:
      platform: "cpu", "tpu", "cuda" or "npu".
      findings: in the order of the checks.
    """

    platform: str
    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> list[Finding]:
        """What keeps it from being used."""
        return [finding for finding in self.findings if finding.status == "wrong"]

    @property
    def usable(self) -> bool:
        """Whether a run can use it: nothing is wrong, and it was tried."""
        return not self.wrong and not any(finding.status == "untried" for finding in self.findings)

    @property
    def reason(self) -> str:
        """Why it is not usable, in one line; empty where it is."""
        if self.usable:
            return ""
        first = self.wrong[0]
        return f"{first.check}: {first.found}" + (f"; {first.remedy}" if first.remedy else "")

    @property
    def value(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "backend": self.platform,
            "usable": self.usable,
            "reason": self.reason,
            # Scripts read "mend", the remedy's key since version 0.1.
            "checks": [
                {"check": each.check, "found": each.found, "status": each.status, "mend": each.remedy}
                for each in self.findings
            ],
        }
