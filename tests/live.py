"""A gateway behind a real port, with faults to order, and what a log says of itself: for the tests of loads and shippers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conftest import Gateway
from werkzeug.serving import make_server

from metronome.load.load import Report, load_file

NGINX = Path(__file__).parent / "payloads/nginx/access.log"

DOWNLOAD = re.compile(r"\.(csv|kml|zip|shp|geojson|pdf|gz|mp4|txt)$", re.I)
NO_PAGE = re.compile(r"\.(css|js|map|png|woff2|json|xml|ico)$|^/robots.txt$")
ROBOT = re.compile("bot|curl|python|wget", re.I)


def count(log: Path) -> dict[str, dict[str, Counter[str]]]:
    """What the log itself says: views by UTC day, downloads by extension, referers, errors; by path, robots apart."""
    items: dict[str, dict[str, Counter[str]]] = {}
    for line in log.read_text().splitlines():
        head, request, numbers, referer, _, agent, _ = (_unescaped(part) for part in line.split('"'))
        words, status = request.split(" "), int(numbers.split()[0])
        if len(words) < 2 or not words[0].isupper():
            continue
        target = " ".join(words[1:-1] if words[-1].startswith("HTTP") else words[1:])
        path = re.sub(r"^http://[^/]*", "", target).split("?")[0].split("#")[0]
        item = items.setdefault(path, {name: Counter() for name in ("views", "downloads", "referers", "errors")})
        if ROBOT.search(agent):
            continue
        when = datetime.strptime(head[head.index("[") + 1 : head.index("]")], "%d/%b/%Y:%H:%M:%S %z").astimezone(UTC)
        if referer != "-":
            parts = urlsplit(referer)
            item["referers"][(parts.netloc + parts.path).rstrip("/")] += 1
        if status >= 400:
            item["errors"][str(status)] += 1
        elif words[0] == "GET" and status in (200, 304) and not NO_PAGE.search(path):
            download = DOWNLOAD.search(path)
            item["downloads" if download else "views"][download[1].lower() if download else f"{when:%Y-%m-%d}"] += 1
    return items


def _unescaped(text: str) -> str:
    raw = re.sub(rb"\\x(..)", lambda found: bytes([int(found[1], 16)]), text.encode())
    return raw.decode("utf-8", "backslashreplace")


class Live:
    """The gateway behind a real HTTP port, with faults to order."""

    def __init__(self, gateway: Gateway, home: Path) -> None:
        self.gateway = gateway
        self.home = home
        #: What happens to the next posts, in order: "busy", "lost answer"; then all is well.
        self.faults: list[str] = []
        self.delay_s = 0.0
        self.posts = 0
        self._server = make_server("127.0.0.1", 0, self._application, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _application(self, environ: Any, start_response: Callable[..., Any]) -> Any:
        self.posts += 1
        time.sleep(self.delay_s)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "busy":
            start_response("503 Service Unavailable", [("Retry-After", "1"), ("Content-Length", "0")])
            return [b""]
        answer = self.gateway.app(environ, start_response)
        if fault == "lost answer":
            b"".join(answer)
            start_response("503 Service Unavailable", [("Retry-After", "1"), ("Content-Length", "0")], sys.exc_info())
            return [b""]
        return answer

    def load(self, file: Path, **options: Any) -> Report:
        return load_file(file, url=self.url, home=self.home, **options)

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "metronome", "load", *map(str, arguments)]

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "METRONOME_URL": self.url, "METRONOME_HOME": str(self.home)}

    def run(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[Any]:
        return subprocess.run(self.command(*arguments), env=self.environ, capture_output=True, timeout=60, **options)

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def tocks(gateway: Gateway, paths: Any) -> dict[str, Any]:
    gateway.drain()
    found = {}
    for path in paths:
        tock = gateway.tock(path, include="errors")
        tock["views"] = {day: number for day, number in tock["views"].items() if number}
        found[path] = tock
    return found
