"""Who takes part in a run of several processes: all of them at its start, and whoever ends before its time.

Process 0 listens where JAX's coordinator will, hears from every other process its index and count, and lets
all continue together or none. A wrong count, an index given twice and a process that never comes are so
reported in one line: JAX's own registration would abort the process with a stack trace. The connections stay
open. The system closes those of a process that ends, however it ends, so the others know in a moment, where a
collective might wait for it for ever.
"""

import contextlib
import ipaddress
import json
import os
import selectors
import socket
import sys
import threading
import time
from typing import NamedTuple

from tpu_npu_backends.errors import BackendError

LOST_STATUS = 2
LONGEST_LINE = 1000
KNOCK_SECONDS = 10.0  # to say who one is, once connected
OK, BYE = "ok", "bye"


class ProcessPlacement(NamedTuple):
    """A process's place in a run: where process 0 listens, how many there are, and which this one is."""

    host: str
    port: int
    count: int
    index: int

    def describe(self) -> str:
        """Such as `process 1 of 4`."""
        return f"process {self.index} of {self.count}"

    @property
    def interface(self) -> str:
        """Address on which process 0 listens: loopback's where `host` is written so, "" for all otherwise.

        A name is not resolved: to its own machine it often means loopback, and to the others the machine.
        """
        host = "127.0.0.1" if self.host == "localhost" else self.host
        try:
            return host if ipaddress.ip_address(host).is_loopback else ""
        except ValueError:
            return ""


class Link:
    """A connection to another process: lines of text."""

    def __init__(self, connection: socket.socket, index: int, host: str = ""):
        self.connection, self.index, self.host = connection, index, host
        self._rest = b""
        _keep_alive(connection)

    def __str__(self) -> str:
        return f"process {self.index}" + (f" (on {self.host})" if self.host else "")

    def send(self, line: str) -> None:
        """Send a line, if anybody is there to hear it."""
        with contextlib.suppress(OSError):
            self.connection.sendall(line.encode() + b"\n")

    def receive(self, seconds: float | None) -> str | None:
        """The next line; None when the other end is gone. TimeoutError when it is silent."""
        self.connection.settimeout(seconds)
        while b"\n" not in self._rest:
            try:
                some = self.connection.recv(LONGEST_LINE)
            except TimeoutError:
                raise
            except OSError:
                return None
            if not some or len(self._rest) > LONGEST_LINE:
                return None
            self._rest += some
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")


def answer(place: ProcessPlacement, seconds: float) -> list[Link]:
    """Take part in the roll call; links to the others (of process 0) or to process 0 (of the others).

    Raises:
      BackendError: somebody is missing, or does not agree about who there is.
    """
    return _host(place, seconds) if place.index == 0 else [_guest(place, seconds)]


def _host(place: ProcessPlacement, seconds: float) -> list[Link]:
    deadline = time.monotonic() + seconds
    links: dict[int, Link] = {}
    try:
        listener = _listen(place)
    except OSError as error:
        raise BackendError(
            f"process 0 cannot listen on port {place.port}: {error.strerror}; is another run there? Choose "
            "another port in PANGU_COORDINATOR"
        ) from None
    with listener:
        while len(links) < place.count - 1:
            listener.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                missing = sorted(set(range(1, place.count)) - links.keys())
                shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
                trouble = (
                    f"{len(missing)} of {place.count} processes did not come within {seconds:.0f} s: {shown}"
                )
            else:
                trouble = _welcome(place, connection, links)
            if trouble:
                for link in links.values():
                    link.send(trouble)
                raise BackendError(trouble)
    for link in links.values():
        link.send(OK)
    return list(links.values())


def _welcome(place: ProcessPlacement, connection: socket.socket, links: dict[int, Link]) -> str | None:
    """Hear who has come, and add it to the links; what is wrong with it, if something is."""
    link = Link(connection, -1)
    try:
        said = json.loads(link.receive(KNOCK_SECONDS) or "")
        link.index, link.host, count = int(said["index"]), str(said["host"]), int(said["count"])
    except (ValueError, KeyError, TypeError, TimeoutError):
        connection.close()  # somebody else, at the wrong door
        return None
    trouble = None
    if count != place.count:
        trouble = f"{link} says that there are {count} processes, and process 0 that there are {place.count}"
    elif link.index in links:
        trouble = f"two processes say that they are process {link.index}: on {links[link.index].host} and on "
        trouble += link.host
    elif not 0 < link.index < count:
        trouble = f"{link} is none of {count}"
    if trouble:
        link.send(trouble)
    else:
        links[link.index] = link
    return trouble


def _guest(place: ProcessPlacement, seconds: float) -> Link:
    deadline = time.monotonic() + seconds
    where = f"{place.host}:{place.port}"
    while True:
        left = deadline - time.monotonic()
        try:
            connection = socket.create_connection((place.host, place.port), timeout=max(left, 0.01))
            break
        except OSError as error:
            if left < 0.5:
                reason = error.strerror or str(error) or "no answer"
                raise BackendError(
                    f"{place.describe()} cannot reach process 0 at {where} ({reason}, for {seconds:.0f} s): "
                    "does it run, and is PANGU_COORDINATOR its address?"
                ) from None
            time.sleep(0.3)
    link = Link(connection, 0, place.host)
    link.send(json.dumps({"index": place.index, "count": place.count, "host": socket.gethostname()}))
    try:
        # Process 0 may have begun to wait later than this one, and answers when its own time is over.
        reply = link.receive(max(deadline - time.monotonic(), 0.0) + seconds)
    except TimeoutError:
        reply = "it accepts connections and says nothing"
    if reply != OK:
        connection.close()
        raise BackendError(f"process 0 at {where}: {reply or 'it ended while others were awaited'}")
    return link


class Watch:
    """Ends this process, with a line and exit status 2, when another one ends before the run does.

    Process 0 sees it of all others, and reports it to them.
    """

    def __init__(self, place: ProcessPlacement, links: list[Link]):
        self._place, self._links = place, links
        self._closed = False
        self._over = threading.Event()  # heard `bye` from whoever it may come from
        self._thread = threading.Thread(target=self._listen, name="pangu_jax roll call", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """The run is over here. All but process 0, which has the report to write, wait for it."""
        for link in self._links:
            link.send(BYE)
        if self._place.index:
            self._over.wait()

    def close(self) -> None:
        """Hang up. Who has not heard `bye` takes this process for lost."""
        self._closed = True
        for link in self._links:
            with contextlib.suppress(OSError):
                link.connection.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            for link in self._links:
                selector.register(link.connection, selectors.EVENT_READ, link)
            while selector.get_map():
                for key, _ in selector.select():
                    link = key.data
                    line = link.receive(KNOCK_SECONDS)
                    if line != BYE and not self._closed:
                        self._end(line or f"{link} has ended", but=link)
                    selector.unregister(link.connection)
        self._over.set()

    def _end(self, what: str, but: Link) -> None:
        for link in self._links:
            if self._place.index == 0 and link is not but:
                link.send(what)
        line = f"pangu: {what}, and {self._place.describe()} cannot continue without it; "
        line += "the same command resumes from the last checkpoint\n"
        with contextlib.suppress(OSError):
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, line.encode())
        os._exit(LOST_STATUS)


def _listen(place: ProcessPlacement) -> socket.socket:
    both = not place.interface and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in place.interface else socket.AF_INET
    return socket.create_server(
        (place.interface, place.port), family=family, backlog=1024, dualstack_ipv6=both
    )


def _keep_alive(connection: socket.socket) -> None:
    """A machine that vanishes closes nothing: ask after a minute of silence, and give up half a minute on."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
