"""gunicorn's worker as ours: which requests of a connection one thread serves."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import TConn

from metronome.web.server import JsonLogger, Worker

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("threads", "busy", "sent", "served"),
    [
        pytest.param(4, 0, REQUEST, 2, id="the next request is served by the same thread"),
        pytest.param(4, 1, REQUEST, 2, id="also while half of the threads are busy"),
        pytest.param(4, 2, REQUEST, 1, id="but not while more are"),
        pytest.param(1, 0, REQUEST, 1, id="a single thread waits for nobody"),
        pytest.param(4, 0, b"", 1, id="where none comes the connection goes back to the poller"),
    ],
)
def test_a_thread_stays_with_its_connection_while_others_are_free(
    threads: int, busy: int, sent: bytes, served: int
) -> None:
    cfg = Config()
    cfg.set("threads", threads)
    worker = Worker(0, os.getpid(), [], None, 30, cfg, JsonLogger(cfg))
    worker._served.update(range(busy))
    ours, client = socket.socketpair()
    with ours, client:
        asked: list[str] = []

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            asked.append(environ["PATH_INFO"])
            if len(asked) == 1:
                client.sendall(sent)
            start_response("200 OK", [("Content-Length", "0")])
            return [b""]

        worker.wsgi = application
        client.sendall(REQUEST)
        assert worker.handle(TConn(cfg, ours, ("127.0.0.1", 1), ("127.0.0.1", 2))) is True
    worker.tmp.close()
    assert asked == ["/"] * served
    assert worker._served == set(range(busy))
