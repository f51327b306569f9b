"""The worker's threads: which requests of a connection one thread serves."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

from metronome.settings import Settings
from metronome.web.arriving import Arriving
from metronome.web.connection import Connection
from metronome.web.server import JsonLogger, Server
from metronome.web.worker import Worker

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_gunicorn_has_every_option_that_is_set() -> None:
    """An unknown one is an AttributeError of gunicorn's, with which `metronome serve` ends."""
    cfg = Server(Settings(workers=3, threads=5), None).cfg
    assert (cfg.workers, cfg.threads, cfg.worker_class, cfg.control_socket_disable) == (3, 5, Worker, True)
    with pytest.raises(AttributeError):
        cfg.set("control_socket_disabled", True)


@pytest.mark.parametrize(
    ("threads", "busy", "sent", "served"),
    [
        pytest.param(4, 0, REQUEST, 2, id="the next request is served by the same thread"),
        pytest.param(4, 1, REQUEST, 2, id="also while half of the threads are busy"),
        pytest.param(4, 2, REQUEST, 1, id="but not while more are"),
        pytest.param(1, 0, REQUEST, 1, id="a single thread waits for nobody"),
        pytest.param(4, 0, b"", 1, id="where none comes the connection goes back to the loop"),
        pytest.param(4, 0, REQUEST[:9], 1, id="as it does where half of one comes"),
    ],
)
def test_a_thread_stays_with_its_connection_while_others_are_free(
    threads: int, busy: int, sent: bytes, served: int
) -> None:
    cfg = Config()
    cfg.set("threads", threads)
    worker = Worker(0, os.getpid(), [], SimpleNamespace(settings=Settings()), 30, cfg, JsonLogger(cfg))
    worker._served = busy + 1
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
        connection = Connection(ours, ("127.0.0.1", 1), Arriving(cfg, ("127.0.0.1", 1), 1000))
        connection.server = ("127.0.0.1", 2)
        client.sendall(REQUEST)
        assert connection.receive() and connection.next()
        worker._serve(connection)
        assert (connection.closing, connection.arrived, connection.unsent) == (False, None, b"")
    worker.tmp.close()
    assert asked == ["/"] * served
