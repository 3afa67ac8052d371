"""One description per backend: what is known of it before JAX starts. Imports neither JAX nor a plugin."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tpu_npu_backends import cpu, gpu_options, tpu

# An Atlas 800T A2 server, which platform npu simulates.
SIMULATED_DEVICES = 8


# XLA for GPU refuses "true" where it means True; libtpu takes text alone.
CompilerOptions = Mapping[str, str | bool | int]


def _no_options(device_kind: str) -> CompilerOptions:
    return {}


@dataclass(frozen=True)
class Description:
    """A backend as seen from outside, and how programs are made for it.

    Attributes:
      name: "cpu", "tpu", "cuda" or "npu", as train.backend and a device's platform name it.
      jax_platforms: what JAX_PLATFORMS has to be for it alone.
      packages: those whose installed versions matter.
      plugins: where its PJRT plugin may be: a package, and a file below it.
      device_files: glob patterns below /dev; empty where there is no driver.
      tool: the driver's command that lists devices, one per line; empty where there is none.
      install: how to get the plugin and what it takes.
      bring_device: what to do where there is no device.
      without_device: what the plugin is good for there.
      compute_dtype: what "auto" means: float32 where the devices are threads of this machine, which has no
        fast half precision (and, for npu, where losses are compared with cpu's), bfloat16 on chips.
      attention: dtypes for which there is a fused kernel of attention -> its name.
      virtual: devices are threads of one machine and share its speed.
      count: how many devices the bare name means; None for all that are found.
      donates: whether donated arguments are reused.
      compiler_options: XLA options for jit by `device_kind`, each with its reason in the backend's module.
      chip_of_kind: `device_kind` -> chip in tpu_npu_backends.chips, for topologies and predictions.
      node: devices joined by fast links, so that a mesh axis with much traffic (model) is best within one
        node; None where links are a torus, or there are none.
    """

    name: str
    jax_platforms: str
    packages: tuple[str, ...]
    plugins: tuple[tuple[str, str], ...] = ()
    device_files: tuple[str, ...] = ()
    tool: tuple[str, ...] = ()
    install: str = ""
    bring_device: str = ""
    without_device: str = "of no use without a device"
    compute_dtype: str = "bfloat16"
    attention: Mapping[str, str] = field(default_factory=dict)
    virtual: bool = False
    count: int | None = None
    donates: bool = True
    compiler_options: Callable[[str], CompilerOptions] = _no_options
    chip_of_kind: Mapping[str, str] = field(default_factory=dict)
    node: int | None = None


_CPU = Description(
    "cpu",
    jax_platforms="cpu",
    packages=("jax", "jaxlib"),
    compute_dtype="float32",
    virtual=True,
    count=1,
    compiler_options=lambda device_kind: cpu.COMPILER_OPTIONS,
    chip_of_kind={"cpu": "cpu"},
)

_TPU = Description(
    "tpu",
    jax_platforms="tpu",
    packages=("libtpu",),
    plugins=(("libtpu", "libtpu.so"),),
    device_files=("accel[0-9]*", "vfio/[0-9]*"),
    install="pip install 'pangu-jax[tpu]'",
    bring_device="run on a TPU host; in a container, pass its devices in",
    without_device="it compiles for TPUs that are not here: `pangu backend compile --target v5e:2x2`",
    attention={"bfloat16": "splash attention", "float32": "splash attention"},
    compiler_options=lambda device_kind: tpu.compiler_options(tpu.CHIP_OF_KIND.get(device_kind, "")),
    chip_of_kind=tpu.CHIP_OF_KIND,
)

_CUDA = Description(
    "cuda",
    jax_platforms="cuda",
    packages=("jax-cuda13-plugin", "jax-cuda13-pjrt", "jax-cuda12-plugin", "jax-cuda12-pjrt"),
    plugins=(
        ("jax_plugins.xla_cuda13", "xla_cuda_plugin.so"),
        ("jax_plugins.xla_cuda12", "xla_cuda_plugin.so"),
    ),
    device_files=("nvidia[0-9]*",),
    tool=("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"),
    install="pip install 'pangu-jax[cuda]'",
    bring_device="install NVIDIA's driver; in a container, pass its devices in (--gpus all)",
    attention={"bfloat16": "cuDNN"},
    compiler_options=lambda device_kind: gpu_options.COMPILER_OPTIONS,
    node=8,
)

_NPU = Description(
    "npu",
    jax_platforms="npu,cpu",
    packages=("ascendnpu-ir", "lammps-jax-pjrt-cpu"),
    device_files=("davinci[0-9]*",),
    tool=("npu-smi", "info", "-l"),
    install="pip install 'pangu-jax[ascend]'",
    without_device="devices are simulated on the CPU, with one or without",
    compute_dtype="float32",
    virtual=True,
    count=SIMULATED_DEVICES,
    # XLA on CPU is what runs the programs: it takes the same options.
    compiler_options=lambda device_kind: cpu.COMPILER_OPTIONS,
    chip_of_kind={"Ascend910B1": "ascend910b"},
    node=8,
)

BACKENDS = {one.name: one for one in (_CPU, _TPU, _CUDA, _NPU)}
