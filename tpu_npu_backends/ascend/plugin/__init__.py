"""Platform `npu` in JAX: a PJRT plugin that simulates Ascend devices on the CPU. See docs/ascend.md.

JAX finds this module by the entry point group `jax_plugins` and calls `initialize` when it starts, in every
program of this environment: importing it must cost nothing.
"""

PLATFORM = "npu"


def initialize() -> None:
    """Registers platform `npu` in a program that asks for it: JAX_PLATFORMS=npu,cpu, or jax_platforms.

    In any other it does nothing, so that simulated devices never become anyone's default. Where the plugin
    cannot be had, JAX says why when it starts the platform.
    """
    import jax

    if PLATFORM not in (jax.config.values["jax_platforms"] or "").split(","):
        return
    from tpu_npu_backends.ascend.plugin import registration

    registration.register()
