"""A node's wake-up call over ZMQ: something happened, perhaps to these transactions. A hint and never the truth.

Notices get lost, come twice and stop when the node does; whoever waits here looks at the chain by itself every
moment, too, and only sooner when the bell rings. May not be asked what happened.
"""

from __future__ import annotations

import logging
import threading

import zmq

log = logging.getLogger("crowdfund.doorbell")

# Notices of single transactions: hash, "A"dded to or "R"emoved from the mempool; and of blocks, "C" and "D".
TOPIC = b"sequence"
ADDED = b"A"
HASH_SIZE = 32
# More at once are not told one by one: the mempool is listed then.
MAX_HEARD = 5_000
LISTEN_MS = 200


class Doorbell:
    """Lets one thread wait until somebody rings. Without a node's address nobody does, but for `ring`."""

    def __init__(self, url: str = "") -> None:
        self._rung = threading.Condition()
        self._heard: set[str] = set()
        self._ringing = False
        self._closed = threading.Event()
        self._listener: threading.Thread | None = None
        if url:
            self._listener = threading.Thread(target=self._listen, args=(url,), name="doorbell", daemon=True)
            self._listener.start()

    def wait(self, timeout_s: float) -> frozenset[str]:
        """Until the bell rings, or `timeout_s`; txids that were spoken of since the last time."""
        with self._rung:
            self._rung.wait_for(lambda: self._ringing, timeout_s)
            heard, self._heard, self._ringing = frozenset(self._heard), set(), False
            return heard

    def ring(self, txid: str = "") -> None:
        """Wake who waits."""
        with self._rung:
            if txid and len(self._heard) < MAX_HEARD:
                self._heard.add(txid)
            self._ringing = True
            self._rung.notify()

    def close(self) -> None:
        """Listen no longer."""
        self._closed.set()
        if self._listener is not None:
            self._listener.join()

    def _listen(self, url: str) -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.linger = 0
            socket.subscribe(TOPIC)
            socket.connect(url)
            while not self._closed.is_set():
                if socket.poll(LISTEN_MS):
                    self._note(socket.recv_multipart())

    def _note(self, parts: list[bytes]) -> None:
        body = parts[1] if len(parts) > 1 else b""
        added = body[HASH_SIZE : HASH_SIZE + 1] == ADDED
        self.ring(body[:HASH_SIZE].hex() if added else "")
