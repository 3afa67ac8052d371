"""What npu needs before it can be tried: the kernel compiler, the plugin; and CANN, if there is one."""

from collections.abc import Callable

from tpu_npu_backends.ascend import cann, modes
from tpu_npu_backends.ascend.cann import binaries
from tpu_npu_backends.ascend.plugin import library as ascend
from tpu_npu_backends.descriptions import Description
from tpu_npu_backends.doctor import driver, packages
from tpu_npu_backends.doctor.findings import Finding
from tpu_npu_backends.errors import BackendError

Tried = Callable[..., list[Finding]]


def findings(backend: Description, tried: Tried) -> list[Finding]:
    """Driver, kernel compiler, plugin and CANN. No device is needed: execution is simulated."""
    return [_driver(backend), _mode(), _kernel_compiler(), *_plugin(backend, tried), *_cann(tried)]


def _driver(backend: Description) -> Finding:
    seen = driver.look(backend)
    return Finding("driver", seen.described + "; devices are simulated", "ok" if seen.files else "absent")


def _mode() -> Finding:
    """What becomes of programs; the doctor's own are not compiled to kernels, whatever it is."""
    try:
        return Finding("mode", f"PANGU_ASCEND_MODE={modes.current()}")
    except BackendError as error:
        return Finding.of("mode", error)


def _kernel_compiler() -> Finding:
    from tpu_npu_backends.ascend.compiler import bishengir

    try:
        return Finding("kernel compiler", bishengir.version())
    except BackendError as error:
        return Finding.of("kernel compiler", error)


def _plugin(backend: Description, tried: Tried) -> list[Finding]:
    library = packages.plugin(backend)
    if library is None:
        return [Finding("plugin", f"{ascend.NAME} is not built", "wrong", ascend.BUILD)]
    try:
        inner = ascend.inner_path()
    except BackendError as error:
        return [Finding.of("plugin", error)]
    return [Finding("inner plugin", inner.name), *tried("plugin", library=library)]


def _cann(tried: Tried) -> list[Finding]:
    """AscendCL in a process of its own: aclInit waits for a driver that hangs."""
    try:
        found = cann.find()
    except BackendError as error:
        return [Finding.of("CANN", error)]
    if found is None:
        what = f"{cann.VARIABLE} is not set: no devices, and no device binaries"
        return [Finding("CANN", what, "absent", "install CANN 8.2 or later and source its set_env.sh")]
    rows = [Finding("CANN", f"{found.version} in {found.home} ({cann.NEVER_RUN})")]
    try:
        rows.append(Finding("hivmc", f"{binaries.hivmc_version(found)}, {found.hivmc} ({cann.NEVER_RUN})"))
    except BackendError as error:
        rows.append(Finding.of("hivmc", error))
    return rows + tried("cann")
