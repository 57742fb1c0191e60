"""The thread that serves all live streams, on real sockets; and a whole server with many of them."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from flask import Flask

from crowdfund.processes import STOP_PATIENCE_S, Children, wait_for
from crowdfund.web import streams
from crowdfund.web.server import handing_over
from crowdfund.web.streams import Streams
from support.browsing import wait_until
from support.paper import Paper
from support.site import Visitor, site_of

FAR = "192.0.2.7"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Streams:
    """Streams that look at their clocks often."""
    monkeypatch.setattr(streams, "TICK_S", 0.01)
    return Streams()


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    with Paper(tmp_path) as chain:
        yield chain


def viewer(held: Streams, network: str = "", seen: int = 0) -> socket.socket:
    """The far end of a new stream."""
    here, there = socket.socketpair()
    here.settimeout(5)
    held.add(there, b"", network, seen)
    return here


def heard(line: socket.socket, end: bytes) -> bytes:
    """What comes until `end`, or until the line is closed."""
    found = b""
    with suppress(ConnectionResetError):  # it was closed before all that was sent there was read
        while not found.endswith(end) and (piece := line.recv(1)):
            found += piece
    return found


def begun(line: socket.socket) -> socket.socket:
    """The stream once it has said hello."""
    assert heard(line, b"data: 15000\n\n") == b"retry: 3000\n\nevent: beat\ndata: 15000\n\n"
    return line


def test_who_does_not_know_of_a_change_is_told_and_nobody_else(held: Streams) -> None:
    held.tell(5)
    with closing(viewer(held, seen=4)) as behind, closing(begun(viewer(held, seen=6))) as ahead:
        assert heard(behind, b"data: 5\n\n").endswith(b"event: changed\nid: 5\ndata: 5\n\n")
        held.tell(3)  # an old number that comes late
        held.tell(7)
        assert heard(behind, b"data: 7\n\n") == b"event: changed\nid: 7\ndata: 7\n\n"
        assert heard(ahead, b"data: 7\n\n") == b"event: changed\nid: 7\ndata: 7\n\n"
        assert held.count == 7


def test_who_leaves_frees_the_place_and_with_the_last_one_the_thread_ends(held: Streams) -> None:
    lines = [begun(viewer(held)) for _ in range(3)]
    assert held.viewers == 3
    lines.pop().close()
    wait_until(lambda: held.viewers == 2, "a viewer less")
    for line in lines:
        line.close()
    wait_until(lambda: held.viewers == 0, "an empty room")
    wait_until(lambda: not any(t.name == "streams" for t in threading.enumerate()), "the thread to end")
    with closing(begun(viewer(held))):  # and another one begins
        assert held.viewers == 1


def test_who_speaks_goes(held: Streams) -> None:
    with closing(begun(viewer(held))) as line:
        line.send(b"GET / HTTP/1.1\r\n\r\n")
        assert heard(line, b"never") == b""
    wait_until(lambda: held.viewers == 0, "the place")


def test_a_heart_beats_while_nothing_happens(held: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.03)
    with closing(viewer(held)) as line:
        assert heard(line, b"event: beat\ndata: 30\n\n" * 3).startswith(b"retry: 3000\n\n")


def test_a_life_ends_and_not_all_at_the_same_time(held: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LIFETIME_S", -1)
    monkeypatch.setattr(streams, "LIFETIME_SPREAD_S", 2)
    with closing(viewer(held)) as later, closing(viewer(held)) as first:
        assert heard(first, b"never") and heard(later, b"never")
    wait_until(lambda: held.viewers == 0, "the places")


def test_who_does_not_read_is_sent_away_and_keeps_nobody_waiting(held: Streams) -> None:
    with closing(viewer(held)) as asleep, closing(begun(viewer(held))) as awake:
        wait_until(lambda: held.viewers == 2, "both")
        for count in range(1, 2_000):
            began = time.monotonic()
            held.tell(count)
            heard(awake, b"data: %d\n\n" % count)
            assert time.monotonic() - began < 1
            if held.viewers == 1:
                break
        assert held.viewers == 1
        while asleep.recv(4_096):  # what was still on the line, and then its end
            pass


def test_there_are_places_for_so_many_and_of_one_network_for_few(
    held: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_STREAMS", 4)
    monkeypatch.setattr(streams, "MAX_OF_ONE_NETWORK", 2)
    with ExitStack() as stack:
        one = [stack.enter_context(closing(begun(viewer(held, FAR)))) for _ in range(2)]
        assert not held.has_place(FAR) and held.has_place("198.51.100.1") and held.has_place("")
        with closing(viewer(held, FAR)) as refused:  # as when two ask in the same moment
            assert heard(refused, b"never") == b""
        for _ in range(2):
            stack.enter_context(closing(begun(viewer(held))))
        assert not held.has_place("198.51.100.1") and not held.has_place("")
        one[0].close()
        wait_until(lambda: held.has_place(FAR), "a place that has come free")


def test_many_are_told_to_wait_and_the_first_are_not(held: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "AT_ONCE", 2)
    monkeypatch.setattr(streams, "SPREAD_MS", 400)
    monkeypatch.setattr(streams, "MAX_SPREAD_MS", 1_000)
    with ExitStack() as stack:
        lines = [stack.enter_context(closing(begun(viewer(held)))) for _ in range(6)]
        held.tell(1)
        said = [heard(line, b"data: 1\n\n").decode() for line in lines]
    waits = sorted(int(found[1]) for text in said if (found := re.match(r"event: spread\ndata: (\d+)\n\n", text)))
    assert waits == [0, 0, 0, 400, 800, 1_000]


def test_one_address_does_not_get_all_places(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_OF_ONE_NETWORK", 2)
    with site_of(paper) as app, ExitStack() as stack:

        def status(address: str) -> int:
            answer = app.test_client().get("/live/site/all", buffered=False, environ_overrides={"REMOTE_ADDR": address})
            if answer.status_code == 200:
                next(answer.iter_encoded())
                stack.callback(answer.close)
            return answer.status_code

        assert [status(FAR) for _ in range(3)] == [200, 200, 503]
        assert [status(f"2001:db8::{n}") for n in range(3)] == [200, 200, 503], "one network, one person"
        assert [status("127.0.0.1") for _ in range(3)] == [200] * 3, "a proxy that does not say for whom it asks"
        assert status("not an address") == 200


def test_a_stream_takes_its_connection_along_with_the_head_of_the_answer(paper: Paper) -> None:
    here, there = socket.socketpair()
    here.settimeout(5)
    with site_of(paper) as app, closing(here):
        client = Flask("server").test_client()
        client.application.wsgi_app = handing_over(app.wsgi_app)  # type: ignore[assignment,method-assign]
        with pytest.raises(ConnectionError, match="handed over"):
            client.get("/live/site/all", environ_overrides={"gunicorn.socket": there})
        assert there.fileno() == -1
        head, _, body = heard(here, b"15000\n\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\nContent-Type: text/event-stream" in head
        assert b"\r\nConnection: close" in head and b"\r\nContent-Security-Policy: " in head
        assert body == b"retry: 3000\n\nevent: beat\ndata: 15000\n\n"


def test_hundreds_of_streams_hold_no_thread_of_a_real_server_and_it_stops_at_once(paper: Paper) -> None:
    children = Children(paper.settings)
    with ExitStack() as stack:
        stack.callback(children.stop)
        port = _free_port()
        children.start("serve", "--port", str(port), "--threads", "8", log_file=paper.settings.data_dir / "log")
        wait_for(lambda: _status(port, "/about") == 200, "The server did not come up.")
        lines = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(300)]
        for line in lines:
            line.sendall(b"GET /live/site/all HTTP/1.1\r\nHost: x\r\n\r\n")
        assert all(heard(line, b"15000\n\n").startswith(b"HTTP/1.1 200") for line in lines)
        # Neither do clients that have their answer, and do not close their end.
        lazy = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(4)]
        for line in lazy:
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert line.recv(64)
        began = time.monotonic()
        assert _status(port, "/about") == 200
        assert time.monotonic() - began < 1.5
        paper.mine()
        assert all(b"event: changed" in heard(line, b"\n\nevent: changed\n") for line in lines[-1:])
        began = time.monotonic()
        children.stop()
        assert time.monotonic() - began < STOP_PATIENCE_S / 2
        for line in lines:
            while line.recv(4_096):
                pass


def test_a_look_at_the_head_takes_no_place(paper: Paper) -> None:
    with site_of(paper) as app:
        answer = Visitor(app).client.head("/live/site/all")
        assert answer.status_code == 200 and answer.content_type.startswith("text/event-stream")
        assert app.extensions["crowdfund-live"].streams.viewers == 0


def _status(port: int, path: str) -> int:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return int(line.recv(64).split()[1])
    except OSError:
        return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
