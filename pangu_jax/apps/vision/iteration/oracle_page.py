"""A page on this machine where a person answers by the keyboard, picture by picture.

It listens on 127.0.0.1 alone, at an address with a token that nobody can guess; pictures are asked for by the
number of their question, so no path comes from the browser. An answer is on disk before the next picture is
shown. The tab that asked first has the page for as long as it is heard of; another one is told so.
"""

import hmac
import io
import json
import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

import gin
from PIL import Image as PillowImage

from pangu_jax.apps.vision.iteration.answers import NO, YES, LabelQuery
from pangu_jax.apps.vision.iteration.oracle import Transcript
from pangu_jax.apps.vision.iteration.pool import Pool
from pangu_jax.errors import UserError

HOST = "127.0.0.1"
LARGEST = 4096  # bytes of a request's body
SILENT = 15.0  # seconds after which a tab that was not heard of has been closed; it calls every five
LEAST_SIDE = 320  # pixels that a picture is enlarged to


@gin.configurable
class OraclePage:
    """Asks a person. The page's address is printed; closing it or Ctrl-C loses nothing.

    Args:
      port: where it listens, on 127.0.0.1; any free one when 0.
    """

    def __init__(self, port: int = 0):
        if not 0 <= port < 65536:
            raise UserError(f"OraclePage.port = {port}: from 0 to 65535")
        self.port = port

    def check(self, pool: Pool) -> None:
        """A person can look at any picture."""
        del pool

    def answer(self, pool: Pool, queries: Sequence[LabelQuery], answered: int, kept: Transcript) -> None:
        """See `Oracle`: until all have an answer, or the person stops."""
        session = PageSession(pool, queries, answered, kept)
        if session.done:
            return
        with page_server(session, self.port) as server:
            print(f"answer at {server.address}", file=sys.stderr, flush=True)
            server.serve_forever(poll_interval=0.2)
        if session.error:
            raise session.error


class PageSession:
    """Questions and answers of one page, whatever carries them.

    Args:
      pool: the pictures.
      queries: of the round, those with an answer first.
      answered: so many of the first ones have an answer.
      kept: where answers go.
      clock: seconds, for who has the page.
    """

    def __init__(
        self,
        pool: Pool,
        queries: Sequence[LabelQuery],
        answered: int,
        kept: Transcript,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.pool, self.queries, self.token = pool, queries, secrets.token_urlsafe(24)
        self.error: Exception | None = None
        self._kept, self._place, self._lock = kept, answered, threading.Lock()
        self._tab, self._heard, self._clock = "", -SILENT, clock

    @property
    def done(self) -> bool:
        """Whether all have an answer."""
        return self._place >= len(self.queries)

    def open(self, tab: str) -> bool:
        """Whether this tab has the page: the first one that asks does, while it is heard of."""
        with self._lock:
            now = self._clock()
            if tab != self._tab and now - self._heard < SILENT:
                return False
            self._tab, self._heard = tab, now
            return True

    def state(self) -> dict[str, Any]:
        """What the page shows now."""
        with self._lock:
            return self._state()

    def reply(self, at: int, answer: str) -> dict[str, Any]:
        """Keep the answer to question number `at`, if it is the open one; a key pressed twice is one answer.

        Raises:
          UserError: the answer is none.
        """
        with self._lock:
            if at == self._place and not self.done:
                query = self.queries[at]
                names = (YES, NO) if query.guess is not None else self.pool.classes
                if answer not in names:
                    raise UserError(f"{answer!r} is no answer to this question")
                self._kept.keep(query, answer)
                self._place += 1
            return self._state()

    def undo(self) -> dict[str, Any]:
        """Take the last answer back; its question is open again."""
        with self._lock:
            if self._place:
                self._place -= 1
                self._kept.undo(self.queries[self._place])
            return self._state()

    def picture(self, at: int) -> bytes | None:
        """PNG of the picture of question number `at`; None where there is no such question."""
        if not 0 <= at < len(self.queries):
            return None
        place = int(self.pool.place_N[self.queries[at].row])
        pixels = self.pool.images.pictures.pixels(place)
        grey = pixels.shape[2] == 1
        picture = PillowImage.fromarray(pixels[..., 0] if grey else pixels)
        if (factor := LEAST_SIDE // max(picture.size)) > 1:
            picture = picture.resize((picture.width * factor, picture.height * factor), 0)
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        return stream.getvalue()

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"at": self._place, "of": len(self.queries), "done": self.done}
        if not self.done:
            guess = self.queries[self._place].guess
            state |= {"guess": None if guess is None else self.pool.classes[guess]}
            state |= {"classes": [] if guess is not None else list(self.pool.classes)}
        return state


def page_server(session: PageSession, port: int = 0) -> "PageServer":
    """A server of the page. UserError where the port is taken."""
    try:
        return PageServer(session, port)
    except OSError as error:
        raise UserError(
            f"cannot listen on {HOST}:{port}: {error.strerror}; give another OraclePage.port, or 0"
        ) from None


class PageServer(ThreadingHTTPServer):
    """The page of one session, on loopback alone.

    Args:
      session: what is asked.
      port: any free one when 0.
    """

    daemon_threads = True

    def __init__(self, session: PageSession, port: int = 0):
        super().__init__((HOST, port), _PageHandler)
        self.session = session
        self.origin = f"http://{HOST}:{self.server_address[1]}"

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"{self.origin}/{self.session.token}/"

    def stop(self) -> None:
        """Let `serve_forever` return, from one of its own requests."""
        threading.Thread(target=self.shutdown, daemon=True).start()


class _PageHandler(BaseHTTPRequestHandler):
    server_version = "pangu"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        match self._parts():
            case [""]:
                page = resources.files("pangu_jax.apps.vision.iteration").joinpath("oracle_page.html")
                self._send(page.read_bytes(), "text/html; charset=utf-8")
            case ["picture", number] if number.isascii() and number.isdigit() and len(number) < 10:
                png = self._session.picture(int(number))
                self._send(png, "image/png") if png else self._refuse(HTTPStatus.NOT_FOUND)
            case _:
                self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        parts = self._parts()
        # A page of another site may send a form here, but not with its own origin hidden.
        if self.headers.get("Origin") not in (None, self._server.origin) or parts not in (
            ["state"],
            ["answer"],
            ["undo"],
            ["stop"],
        ):
            return self._refuse(HTTPStatus.NOT_FOUND)
        said = self._body()
        if said is None:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        if not self._session.open(str(said.get("tab"))):
            return self._json(
                {"error": "this page is open already: answer there, or close it and start again"}
            )
        try:
            self._json(self._done(parts[0], said))
        except UserError as error:
            self._json({"error": str(error)})
        except Exception as error:  # such as a full disk: the program says so, not a thread
            self._session.error = error
            self._json({"error": "the answer could not be kept: see the terminal"})
            self._server.stop()
        if self._session.done:
            self._server.stop()

    def _done(self, what: str, said: dict[str, Any]) -> dict[str, Any]:
        if what == "answer" and isinstance(said.get("at"), int):
            return self._session.reply(said["at"], str(said.get("answer")))
        if what == "undo":
            return self._session.undo()
        if what == "stop":
            self._server.stop()
        return self._session.state()

    def _parts(self) -> list[str]:
        """The path after the token; [] where the token is not ours."""
        first, *rest = self.path.partition("?")[0].removeprefix("/").split("/")
        known = hmac.compare_digest(first.encode("utf-8", "replace"), self._session.token.encode())
        # Another name for this address, such as one that a foreign site gave it, is not ours.
        ours = f"http://{self.headers.get('Host')}" == self._server.origin
        return rest if known and ours else []

    def _body(self) -> dict[str, Any] | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LARGEST:
            return None
        try:
            said = json.loads(self.rfile.read(int(length)))
        except ValueError:
            return None
        return said if isinstance(said, dict) else None

    def _json(self, value: dict[str, Any]) -> None:
        self._send(json.dumps(value, ensure_ascii=False).encode(), "application/json")

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(b"", "text/plain", status)

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Frame-Options", "DENY"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    @property
    def _server(self) -> PageServer:
        server: Any = self.server
        return server

    @property
    def _session(self) -> PageSession:
        return self._server.session

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal is for progress."""
        del format, args
