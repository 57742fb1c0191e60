import socket
from concurrent.futures import Future
from typing import Any

class TConn:
    sock: socket.socket

class ThreadWorker:
    nr_conns: int
    def finish_request(self, conn: TConn, fs: Future[Any]) -> None: ...
