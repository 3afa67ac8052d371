"""The page of questions: on loopback, for one tab, no path from the browser, every answer kept at once."""

import contextlib
import io
import json
import threading
import urllib.error
import urllib.request

import pytest
from PIL import Image as PillowImage

from pangu_jax.apps.vision.iteration.answers import LabelQuery
from pangu_jax.apps.vision.iteration.oracle_page import HOST, SILENT, OraclePage, PageSession, page_server
from pangu_jax.errors import UserError


class Kept(list):
    """What a journal would be told."""

    def keep(self, query, answer):
        self.append((query.row, answer))

    def undo(self, query):
        self.append((query.row, None))


@pytest.fixture
def session(pool):
    queries = [LabelQuery(0, 3), LabelQuery(1, 4), LabelQuery(2, None)]
    clock = [0.0]
    made = PageSession(pool, queries, 0, Kept(), lambda: clock[0])
    made.clock = clock
    return made


@pytest.fixture
def page(session):
    """Asks the running page: (what, JSON or None, headers) -> (status, bytes)."""
    with page_server(session) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()

        def ask(what, said=None, address=server.address, **headers):
            data = None if said is None else json.dumps(said).encode()
            request = urllib.request.Request(address + what, data, headers)
            try:
                with urllib.request.urlopen(request, timeout=10) as reply:
                    return reply.status, reply.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()

        ask.server = server
        yield ask
        server.shutdown()
        thread.join()


def test_a_person_answers_takes_back_and_is_done(page, session):
    status, html = page("")
    assert status == 200 and b"<title>Questions" in html
    with PillowImage.open(io.BytesIO(page("picture/0")[1])) as picture:
        assert picture.format == "PNG" and picture.size == (320, 320)
    tab = {"tab": "a"}
    state = json.loads(page("state", tab)[1])
    assert state == {"at": 0, "of": 3, "done": False, "guess": "digit 3", "classes": []}
    assert json.loads(page("answer", tab | {"at": 0, "answer": "yes"})[1])["at"] == 1
    assert json.loads(page("answer", tab | {"at": 0, "answer": "no"})[1])["at"] == 1  # pressed twice
    assert json.loads(page("undo", tab)[1])["at"] == 0
    assert json.loads(page("answer", tab | {"at": 0, "answer": "no"})[1])["at"] == 1
    assert "no answer" in json.loads(page("answer", tab | {"at": 1, "answer": "perhaps"})[1])["error"]
    page("answer", tab | {"at": 1, "answer": "yes"})
    assert "digit 7" in json.loads(page("state", tab)[1])["classes"]
    assert json.loads(page("answer", tab | {"at": 2, "answer": "digit 7"})[1])["done"]
    assert session._kept == [(0, "yes"), (0, None), (0, "no"), (1, "yes"), (2, "digit 7")]


def test_a_second_tab_is_told_and_has_the_page_when_the_first_is_gone(page, session):
    assert "at" in json.loads(page("state", {"tab": "a"})[1])
    said = json.loads(page("answer", {"tab": "b", "at": 0, "answer": "yes"})[1])
    assert "open already" in said["error"] and session._kept == []
    session.clock[0] += SILENT
    assert "at" in json.loads(page("state", {"tab": "b"})[1])
    assert "open already" in json.loads(page("state", {"tab": "a"})[1])["error"]


@pytest.mark.parametrize(
    "what", ["../../etc/passwd", "picture/../0", "picture/%2e%2e", "picture/9", "picture/-1", "labels.csv"]
)
def test_no_path_is_taken_from_the_browser(page, what):
    assert page(what) == (404, b"")


def test_only_the_address_with_its_token_answers(page, session):
    server = page.server
    assert server.server_address[0] == HOST == "127.0.0.1"
    assert page("", address=f"{server.origin}/")[0] == 404
    assert page("state", {"tab": "a"}, address=f"{server.origin}/{'x' * len(session.token)}/")[0] == 404
    assert page("", Host="example.org")[0] == 404
    assert page("state", {"tab": "a"}, Origin="http://example.org")[0] == 404
    assert page("state", ["not", "an", "object"])[0] == 400
    assert page("state", {"tab": "a" * 5000})[0] == 400
    assert session._kept == []


def test_the_oracle_waits_for_a_person_and_can_be_stopped(pool, capsys):
    kept, queries = Kept(), [LabelQuery(0, 3), LabelQuery(1, 4)]
    oracle = OraclePage()
    thread = threading.Thread(target=lambda: oracle.answer(pool, queries, 0, kept))
    thread.start()
    address = None
    while address is None:
        with contextlib.suppress(IndexError):
            address = capsys.readouterr().err.split("answer at ")[1].strip()
    for what, said in (("answer", {"at": 0, "answer": "yes"}), ("stop", {})):
        request = urllib.request.Request(address + what, json.dumps({"tab": "a"} | said).encode())
        urllib.request.urlopen(request, timeout=10).read()
    thread.join(10)
    assert not thread.is_alive() and kept == [(0, "yes")]
    oracle.answer(pool, queries, 2, kept)  # nothing is left to ask: it does not wait


def test_a_port_in_use_is_one_line(page, pool):
    with pytest.raises(UserError, match=r"give another OraclePage\.port"):
        page_server(PageSession(pool, [], 0, Kept()), page.server.server_address[1])
