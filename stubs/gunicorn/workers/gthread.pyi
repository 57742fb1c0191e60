import socket
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

class TConn:
    sock: socket.socket
    def close(self, graceful: bool = ...) -> None: ...

class ThreadWorker:
    alive: bool
    nr_conns: int
    tpool: ThreadPoolExecutor
    def finish_request(self, conn: TConn, fs: Future[Any]) -> None: ...
