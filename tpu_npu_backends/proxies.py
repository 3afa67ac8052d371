"""JAX's connections among processes past a proxy: what gRPC, which carries them, reads of the environment.

gRPC sends every connection through the proxy of the first of grpc_proxy, https_proxy and http_proxy that is
set (in lower case only; an empty one means none), but to hosts of no_grpc_proxy, or of no_proxy where that
is not set. It takes neither `*` nor a port nor brackets there. The proxies of companies and clusters refuse
such connections, and JAX then aborts the process, a minute later and with a stack trace.
"""

from collections.abc import Mapping

PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
EXEMPT = ("no_grpc_proxy", "no_proxy")


def in_use(environment: Mapping[str, str]) -> str | None:
    """The variable whose proxy gRPC takes; None where it takes none."""
    name = next((name for name in PROXIES if name in environment), None)
    return name if name and environment[name] else None


def exempting(host: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What is to be set so that gRPC reaches `host` without a proxy; nothing where it does already.

    It is gRPC's own variable, with what gRPC has read so far: others take `no_proxy = *` as it is, and read
    NO_PROXY only where no_proxy is not set.

    Args:
      host: a name or an address without port and brackets.
    """
    if not in_use(environment):
        return {}
    read = next((environment[name] for name in EXEMPT if name in environment), "")
    entries = [entry.strip() for entry in read.split(",") if entry.strip()]
    if host.lower() in (entry.lower() for entry in entries):
        return {}
    return {EXEMPT[0]: ",".join([*entries, host])}


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """What is to be set so that gRPC takes no proxy at all; nothing where it takes none, or one of its own
    (grpc_proxy), which somebody chose for it."""
    return {PROXIES[0]: ""} if in_use(environment) not in (None, PROXIES[0]) else {}
