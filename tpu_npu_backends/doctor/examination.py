"""Trying a backend, from the driver up to a collective."""

import os
from collections.abc import Callable

from tpu_npu_backends.ascend import cann
from tpu_npu_backends.descriptions import BACKENDS, Description
from tpu_npu_backends.doctor import cuda, driver, npu, packages, running
from tpu_npu_backends.doctor.findings import Examination, Finding
from tpu_npu_backends.doctor.inventory import machine
from tpu_npu_backends.errors import BackendError

TRIED = ("devices", "memory", "matmul", "collective")

OnCheck = Callable[[str], None]


def examine(
    name: str, *, silent_seconds: float = running.SILENT_SECONDS, on_check: OnCheck | None = None
) -> Examination:
    """All checks of a backend; those that need a device only where nothing before them is wrong.

    Args:
      name: "cpu", "tpu", "cuda" or "npu".
      silent_seconds: a check that takes longer is ended, and is wrong.
      on_check: called with each check that begins, such as "tpu: matmul".

    Raises:
      BackendError: there is no backend of that name.
    """
    if name not in BACKENDS:
        raise BackendError(f"no backend {name!r} to examine: it is one of {', '.join(BACKENDS)}")
    backend = BACKENDS[name]

    def tried(*checks: str, **options) -> list[Finding]:
        begun = (lambda check: on_check(f"{name}: {check}")) if on_check else None
        return running.try_checks(name, checks, silent_seconds=silent_seconds, on_check=begun, **options)

    findings = [_packages(backend), *_OWN.get(name, _with_a_driver)(backend, tried)]
    if not any(finding.status == "wrong" for finding in findings):
        findings += tried(*TRIED)
    answered = {finding.check for finding in findings}
    findings += [Finding(check, "", "untried") for check in TRIED if check not in answered]
    return Examination(name, tuple(findings))


def is_here(name: str) -> bool:
    """Whether this machine is meant to have a backend: its device, or what stands for one, is there."""
    if name == "npu":
        return packages.plugin(BACKENDS[name]) is not None or bool(os.environ.get(cann.VARIABLE))
    # In WSL the tool names devices that have no file of their own.
    return name == "cpu" or bool(driver.look(BACKENDS[name]).devices)


def _packages(backend: Description) -> Finding:
    found = packages.versions(("jax", "jaxlib", *backend.packages))
    shown = ", ".join(f"{name} {version}" for name, version in found.items())
    if any(name in found for name in backend.packages):
        return Finding("packages", shown)
    return Finding("packages", f"no {backend.packages[0]} ({shown})", "wrong", backend.install)


def _cpu(backend: Description, tried: Callable[..., list[Finding]]) -> list[Finding]:
    return [Finding("machine", machine())]


def _with_a_driver(backend: Description, tried: Callable[..., list[Finding]]) -> list[Finding]:
    library = packages.plugin(backend)
    if library is None:
        return [_driver(backend), Finding("plugin", "not installed", "wrong", backend.install)]
    return [_driver(backend), *tried("plugin", library=library)]


def _driver(backend: Description) -> Finding:
    seen = driver.look(backend)
    if not seen.files:
        return Finding("driver", seen.described, "wrong", backend.bring_device)
    if seen.error:
        return Finding(
            "driver", seen.described, "wrong", "the driver does not answer: restart it, or the machine"
        )
    if file := driver.refused(seen):
        remedy = f"ask for the group of {file}, which `ls -l {file}` names"
        return Finding("driver", f"{seen.described}; {file} may not be opened", "wrong", remedy)
    return Finding("driver", seen.described)


_OWN = {"cpu": _cpu, "cuda": cuda.findings, "npu": npu.findings}
