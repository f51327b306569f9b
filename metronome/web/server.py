"""The server: gunicorn's processes around our workers. Each opens a spool and a client of its own, after the fork.

gunicorn starts, watches, reloads and stops the workers; `worker.py` says what they do. Threads serve requests rather
than an event loop, so an fsync or a question to Elasticsearch blocks one request, never all of them.
"""

from __future__ import annotations

import logging
from typing import Any

from gunicorn.app.base import BaseApplication

from metronome import logs, process
from metronome.keyring import Keyring
from metronome.metrics import Metrics
from metronome.settings import Settings
from metronome.spool.files import make_folder
from metronome.spool.spool import Spool
from metronome.store.address import Address
from metronome.store.client import connect
from metronome.streams.routes import ROUTES
from metronome.web.handover import Handover, as_any_request
from metronome.wire.access import check_start

log = logging.getLogger("metronome.web")


class Server(BaseApplication):
    """`metronome serve`: HTTP until SIGTERM; SIGHUP restarts the workers one after another."""

    def __init__(self, settings: Settings, address: Address | None) -> None:
        self.settings = settings
        self.address = address
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's options; one that it doesn't know is an error of its own."""
        options: dict[str, Any] = {
            "bind": self.settings.bind,
            "workers": self.settings.workers,
            "threads": self.settings.threads,
            "worker_class": "metronome.web.worker.Worker",
            "graceful_timeout": 20,
            "timeout": 60,
            # `Arriving` bounds the line, and by path: gunicorn knows nothing between 8190 bytes and no limit.
            "limit_request_line": 0,
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
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application of this worker process; gunicorn calls it after the fork."""
        from metronome.web.app import Opened, create_app

        settings = self.settings
        spool = Spool(settings.spool_dir, max_bytes=settings.spool_max_bytes, reserve_bytes=settings.disk_reserve_bytes)
        opened = Opened(spool, connect(settings, self.address))
        metrics = Metrics()
        metrics.publish(settings.metrics_dir / spool.slot)
        app = create_app(settings, opened, metrics)
        app.extensions["metronome"] = opened
        app.extensions["metrics"] = metrics
        app.extensions["keyring"].start()
        app.extensions["people"].start()
        authorise = as_any_request(settings, app.extensions["gate"])
        app.extensions["handover"] = Handover(settings.streams_socket, ROUTES, metrics, authorise)
        process.after_start()
        log.info("worker ready", extra={"spool": spool.slot})
        return app


def _worker_exit(server: Any, worker: Any) -> None:
    extensions = getattr(getattr(worker, "wsgi", None), "extensions", {})
    if "metronome" in extensions:
        extensions["keyring"].stop()
        extensions["people"].stop()
        extensions["gate"].rates.close()
        # The order matters: the next owner of the spool's slot goes on counting from the published metrics.
        extensions["metrics"].close()
        extensions["metronome"].spool.close()
        extensions["metronome"].client.close()


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
    process.allow_many_files()
    Server(settings, address).run()
