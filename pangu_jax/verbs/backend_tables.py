"""What looking at backends found, as a person reads it."""

from collections.abc import Collection, Sequence

from pangu_jax import text_tables
from tpu_npu_backends.doctor.findings import Examination
from tpu_npu_backends.doctor.inventory import BackendEntry

_MARKS = {"ok": "ok", "absent": "-", "wrong": "WRONG", "untried": "not tried"}


def inventory(entries: Sequence[BackendEntry]) -> str:
    """A row per backend, and the versions of the libraries."""
    rows = [
        [
            entry.backend,
            "found" if entry.found else "not found",
            "; ".join(entry.devices),
            entry.how,
            entry.install,
        ]
        for entry in entries
    ]
    versions = {name: version for entry in entries for name, version in entry.versions.items()}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    table = text_tables.render(("backend", "", "devices", "how", "to have it"), rows)
    return f"{table}\n\n{listed}\n`pangu backend doctor NAME` tries one."


def doctor(found: Sequence[Examination], wanted: Collection[str]) -> str:
    """A row per check, and a line per backend that says whether it is usable.

    Args:
      found: what the doctor found.
      wanted: the backends that this machine is meant to have; nothing is wrong with the lack of others.
    """
    rows = []
    for one in found:
        marks = _MARKS if one.platform in wanted else {**_MARKS, "wrong": "-"}
        rows += [
            [one.platform, finding.check, marks[finding.status], finding.found, finding.remedy]
            for finding in one.findings
            if finding.status != "untried"
        ]
        if untried := [finding.check for finding in one.findings if finding.status == "untried"]:
            rows.append([one.platform, ", ".join(untried), _MARKS["untried"]])
    table = text_tables.render(("backend", "check", "", "what was found", "how to fix it"), rows)
    return "\n".join([table, "", *(_verdict(one, one.platform in wanted) for one in found)])


def _verdict(one: Examination, wanted: bool) -> str:
    if one.usable:
        return f"{one.platform}: usable"
    return f"{one.platform}: {'not usable' if wanted else 'not here'}: {one.reason}"
