"""One thread that serves every live stream: it writes to sockets that never let it wait, so a viewer costs no thread.

It knows sockets and one number that grows, and may touch neither Flask nor the database. A message is so short that it
either fits into the system's buffer as a whole, or its reader has not read for long and is sent away; a browser comes
back by itself, and says what it has heard last.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass

HEARTBEAT_S = 15.0
LIFETIME_S = 600.0
# As lives are cut at different lengths, those who came together do not come back together.
LIFETIME_SPREAD_S = 60
MAX_STREAMS = 2_000
MAX_OF_ONE_NETWORK = 50
# How often heartbeats and lifetimes are looked at.
TICK_S = 1.0
# The first to be told may fetch at once; each later one a little later than the one before.
AT_ONCE = 50
SPREAD_MS = 1
MAX_SPREAD_MS = 2_000
# What the system may hold for a reader who does not read, and how long it tries to reach one who does not answer.
SEND_BUFFER_BYTES = 4_096
UNREACHABLE_MS = 40_000


@dataclass(eq=False)
class Viewer:
    """An open stream. `seen` is what its page knows; `network` is how its address is counted, or empty."""

    line: socket.socket
    network: str
    seen: int
    ends: float
    beat_due: float


class Streams:
    """All streams of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: Counter[str] = Counter()
        self._arriving: deque[tuple[Viewer, bytes]] = deque()
        self._served: set[Viewer] = set()
        self._count = -1
        self._came = 0
        self._bell: socket.socket | None = None  # there while the thread runs, which hears it

    @property
    def viewers(self) -> int:
        """How many listen."""
        with self._lock:
            return self._places.total()

    @property
    def count(self) -> int:
        """The number, as far as anybody was told."""
        with self._lock:
            return self._count

    def has_place(self, network: str, most: int | None = None) -> bool:
        """May one more listen from that network, where `most` (MAX_STREAMS) may in all? An empty one is trusted."""
        with self._lock:
            return self._has_place(network, MAX_STREAMS if most is None else most)

    def _has_place(self, network: str, most: int) -> bool:
        return self._places.total() < most and not (network and self._places[network] >= MAX_OF_ONE_NETWORK)

    def add(self, line: socket.socket, head: bytes, network: str, seen: int) -> None:
        """Serve this socket from now on, first of all with `head`. It is ours, and is closed where no place is left."""
        line.setblocking(False)
        now = time.monotonic()
        with self._lock:
            if not self._has_place(network, MAX_STREAMS):
                line.close()
                return
            self._places[network] += 1
            self._came += 1
            ends = now + LIFETIME_S + self._came % LIFETIME_SPREAD_S
            viewer = Viewer(line, network, seen, ends, now + HEARTBEAT_S)
            self._arriving.append((viewer, head + f"retry: 3000\n\n{_beat()}".encode()))
            if self._bell is None:
                self._bell, ear = socket.socketpair()
                for end in (self._bell, ear):
                    end.setblocking(False)
                threading.Thread(target=self._serve, args=(ear,), name="streams", daemon=True).start()
        self._ring()

    def tell(self, count: int) -> None:
        """The number is at least this."""
        with self._lock:
            if count <= self._count:
                return
            self._count = count
        self._ring()

    def _ring(self) -> None:
        with self._lock, suppress(BlockingIOError):  # it rings already
            if self._bell is not None:
                self._bell.send(b"!")

    def _serve(self, ear: socket.socket) -> None:
        """Until nobody is left; whoever comes then starts another thread."""
        with selectors.DefaultSelector() as ready, ear:
            ready.register(ear, selectors.EVENT_READ)
            look_at = time.monotonic() + TICK_S
            while self._wanted():
                for key, _ in ready.select(max(0.0, look_at - time.monotonic())):
                    if key.data is None:
                        ear.recv(4_096)
                    else:
                        self._drop(ready, key.data)  # it has left; or it speaks, which no page of ours does
                self._admit(ready)
                self._announce(ready)
                if time.monotonic() >= look_at:
                    self._look_after(ready)
                    look_at = time.monotonic() + TICK_S

    def _wanted(self) -> bool:
        with self._lock:
            if self._bell is not None and not self._places:
                self._bell.close()
                self._bell = None
            return self._bell is not None

    def _admit(self, ready: selectors.BaseSelector) -> None:
        """Take in who has come."""
        while True:
            with self._lock:
                if not self._arriving:
                    return
                viewer, first = self._arriving.popleft()
                self._served.add(viewer)
            _tame(viewer.line)
            ready.register(viewer.line, selectors.EVENT_READ, viewer)
            self._send(ready, viewer, first)

    def _announce(self, ready: selectors.BaseSelector) -> None:
        """Tell everybody who does not know it that the number has moved, and spread them where they are many."""
        with self._lock:
            count = self._count
        told = [viewer for viewer in self._served if viewer.seen < count]
        news = f"event: changed\nid: {count}\ndata: {count}\n\n"
        for place, viewer in enumerate(told):
            viewer.seen = count
            wait_ms = min(MAX_SPREAD_MS, max(0, place - AT_ONCE) * SPREAD_MS)
            spread = f"event: spread\ndata: {wait_ms}\n\n" if len(told) > AT_ONCE else ""
            self._send(ready, viewer, (spread + news).encode())

    def _look_after(self, ready: selectors.BaseSelector) -> None:
        """A heartbeat for whom nothing was said for long; an end for who has been here for long."""
        now = time.monotonic()
        for viewer in tuple(self._served):
            if now >= viewer.ends:
                self._drop(ready, viewer)
            elif now >= viewer.beat_due:
                self._send(ready, viewer, _beat().encode())

    def _send(self, ready: selectors.BaseSelector, viewer: Viewer, message: bytes) -> None:
        """The whole message at once, or the viewer goes."""
        try:
            whole = viewer.line.send(message) == len(message)
        except OSError:
            whole = False
        if whole:
            viewer.beat_due = time.monotonic() + HEARTBEAT_S
        else:
            self._drop(ready, viewer)

    def _drop(self, ready: selectors.BaseSelector, viewer: Viewer) -> None:
        """Close it and give its place back."""
        if viewer not in self._served:
            return
        self._served.remove(viewer)
        ready.unregister(viewer.line)
        viewer.line.close()
        with self._lock:
            self._places[viewer.network] -= 1
            if not self._places[viewer.network]:
                del self._places[viewer.network]


def _beat() -> str:
    """A heartbeat that says when the next one is due at the latest: a page that hears nothing knows that the line is
    dead, though nobody has closed it."""
    return f"event: beat\ndata: {round(HEARTBEAT_S * 1000)}\n\n"


def _tame(line: socket.socket) -> None:
    """Keep little for a slow reader, and notice one who cannot be reached any more."""
    with suppress(OSError):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if line.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREACHABLE_MS)
