"""The server: gunicorn with threads. Each worker process opens a spool and a client of its own, after the fork.

Threads rather than an event loop: an fsync or a question to Elasticsearch then blocks one request, never all of them.
"""

from __future__ import annotations

import contextlib
import logging
import select
from http import HTTPStatus
from typing import Any

import orjson
from gunicorn.app.base import BaseApplication
from gunicorn.http.errors import (
    ConfigurationProblem,
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker

from metronome import logs, process
from metronome.errors import error_body
from metronome.keyring import Keyring
from metronome.logs import Sparing
from metronome.metrics import Metrics, use_folder
from metronome.settings import Settings
from metronome.spool.files import make_folder
from metronome.spool.spool import Spool
from metronome.store.address import Address
from metronome.store.client import connect
from metronome.wire.access import check_start

log = logging.getLogger("metronome.web")

#: Idle connections of shippers stay open this long; a new one costs more than the request on it.
KEEPALIVE_S = 75

#: A thread waits so long for its connection's next request, in milliseconds, before the connection goes to the poller.
LINGER_MS = 50

#: An id of 512 bytes is 1,536 when percent-encoded; the rest is for query parameters.
MAX_REQUEST_LINE = 8190


class Server(BaseApplication):
    """`metronome serve`: HTTP until SIGTERM; SIGHUP restarts the workers one after another."""

    def __init__(self, settings: Settings, address: Address | None) -> None:
        self.settings = settings
        self.address = address
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": self.settings.bind,
            "workers": self.settings.workers,
            "threads": self.settings.threads,
            "worker_class": "metronome.web.server.Worker",
            "keepalive": KEEPALIVE_S,
            "graceful_timeout": 20,
            "timeout": 60,
            "limit_request_line": MAX_REQUEST_LINE,
            "proc_name": "metronome",
            "worker_tmp_dir": None,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning" if self.settings.log_level == "info" else self.settings.log_level,
            "logger_class": "metronome.web.server.JsonLogger",
            "worker_exit": _worker_exit,
            "control_socket_disable": True,
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """The application of this worker process; gunicorn calls it after the fork."""
        from metronome.web.app import Opened, create_app

        settings = self.settings
        spool = Spool(settings.spool_dir, max_bytes=settings.spool_max_bytes)
        use_folder(settings.metrics_dir, spool.slot)
        opened = Opened(spool, connect(settings, self.address))
        metrics = Metrics()
        app = create_app(settings, opened, metrics)
        app.extensions["metronome"] = opened
        app.extensions["metrics"] = metrics
        app.extensions["keyring"].start()
        process.after_start()
        log.info("worker ready", extra={"spool": spool.slot})
        return app


def _worker_exit(server: Any, worker: Any) -> None:
    extensions = getattr(getattr(worker, "wsgi", None), "extensions", {})
    if "metronome" in extensions:
        extensions["keyring"].stop()
        extensions["gate"].rates.close()
        extensions["metronome"].spool.close()
        extensions["metronome"].client.close()


class Worker(ThreadWorker):
    """gunicorn's worker with threads that stay with their connections for a while.

    Its own refusals have the project's one error body too.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._sparing = Sparing()
        #: Connections that have a thread just now: at work, or waiting for a request, their first or the next.
        self._served: set[Any] = set()

    def handle(self, conn: Any) -> Any:
        """Serve a connection's request, and those that follow closely, in this thread.

        gunicorn gives a connection back to its poller after each request; from there to the next one's thread it takes
        a pipe, two queues and several changes of thread.
        """
        self._served.add(conn)
        try:
            result = super().handle(conn)
            while result is True and self._has_more(conn):
                result = super().handle(conn)
            return result
        finally:
            self._served.discard(conn)

    def _has_more(self, conn: Any) -> bool:
        """Whether the next request comes soon; no while others may need the thread, or the worker is to stop."""
        if not self.alive or len(self._served) > self.cfg.threads // 2:
            return False
        if conn.parser.unreader.buf.getvalue():
            return False  # it is here already, where no poll would see it: gunicorn knows and queues the connection
        soon = select.poll()
        soon.register(conn.sock, select.POLLIN)
        return bool(soon.poll(LINGER_MS))

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer what never became a request of the application's, on the connection that is about to close."""
        status, code, message = _refusal(exc)
        if status == 500:
            log.error("a request could not be handled", exc_info=exc)
        elif (unsaid := self._sparing.turn(type(exc).__name__)) is not None:
            log.warning("what came can't be read as HTTP", extra={"problem": str(exc)[:200], "unsaid": unsaid})
        self.wsgi.extensions["metrics"].requests.labels("none", str(status)).inc()
        body = orjson.dumps(error_body(status, code, message))
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        # Who has gone away doesn't mind.
        with contextlib.suppress(OSError):
            write_nonblock(client, head.encode() + body)


def _refusal(error: Exception) -> tuple[int, str, str]:
    """Status, code and message for what gunicorn couldn't read."""
    if isinstance(error, LimitRequestLine):
        return 414, "uri_too_long", f"the address is longer than {MAX_REQUEST_LINE} bytes"
    if isinstance(error, LimitRequestHeaders):
        return 431, "headers_too_large", "there are too many request headers, or one is too long"
    if isinstance(error, ExpectationFailed):
        return 417, "expectation_failed", "of expectations only 100-continue is met"
    if isinstance(error, ParseException) and not isinstance(error, _OURS):
        return 400, "bad_request", f"this can't be read as HTTP: {str(error)[:200]}"
    return 500, "internal_error", "something went wrong in the gateway; its log has the details"


#: What gunicorn calls an error of parsing, but no client has caused.
_OURS = (ConfigurationProblem, InvalidResponseHeader, InvalidResponseHeaderName)


class JsonLogger:
    """gunicorn's own messages in our form. It asks for a class with these methods; there is nothing to inherit."""

    def __init__(self, cfg: Any) -> None:
        self.error_log = logging.getLogger("metronome.gunicorn")
        self.access_log = self.error_log
        self.setup(cfg)

    def setup(self, cfg: Any) -> None:
        """Called again by each reload."""
        self.cfg = cfg
        self.error_log.setLevel(cfg.loglevel.upper())

    def critical(self, text: Any, *values: Any, **options: Any) -> None:
        self.error_log.critical(text, *values, **options)

    def error(self, text: Any, *values: Any, **options: Any) -> None:
        self.error_log.error(text, *values, **options)

    def warning(self, text: Any, *values: Any, **options: Any) -> None:
        self.error_log.warning(text, *values, **options)

    def info(self, text: Any, *values: Any, **options: Any) -> None:
        self.error_log.info(text, *values, **options)

    def debug(self, text: Any, *values: Any, **options: Any) -> None:
        self.error_log.debug(text, *values, **options)

    def exception(self, text: Any, *values: Any, **options: Any) -> None:
        self.error_log.exception(text, *values, **options)

    def log(self, level: Any, text: Any, *values: Any, **options: Any) -> None:
        number = (
            level if isinstance(level, int) else logging.getLevelNamesMapping().get(str(level).upper(), logging.INFO)
        )
        self.error_log.log(number, text, *values, **options)

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """No access log: requests are counted in /metrics, and their addresses are nobody's business."""

    def reopen_files(self) -> None:
        """Nothing is open but standard error."""

    def close_on_exec(self) -> None:
        """As above."""


def serve(settings: Settings, address: Address | None) -> None:
    """Serve HTTP until SIGTERM. Raises SetupError where the spool's folder can't be used, or anybody could get in."""
    make_folder(settings.spool_dir)
    logs.configure(settings.log_level, "web")
    check_start(settings, lambda: Keyring(settings, connect(settings, address, timeout_s=5)))
    Server(settings, address).run()
