"""`metronome up`: everything of one installation in one process group, started in order and stopped in reverse.

    private Elasticsearch (unless ELASTICSEARCH_URL is set)  ->  index templates  ->  drain  ->  streams, HTTP, listen

HTTP, live connections and listen (which runs only if a port is set for it) take events in, so they are stopped first.
The drain then finishes the bodies under way. All other events stay in the spool for the next start.

A child that dies is started again. The pauses grow if it dies at once. Everything ends only if HTTP can't be started in
the first place. As long as HTTP runs, ticks are taken, whatever happens to the drain.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from metronome.client import is_ready, url_of
from metronome.errors import SetupError, StoreUnavailable
from metronome.keyring import Keyring, make_sample
from metronome.listen import access
from metronome.node.node import Node
from metronome.settings import Settings
from metronome.store import indices
from metronome.store.client import connect, wait_until_usable
from metronome.wire.access import check_start

READY_WITHIN_S = 60
#: A child that dies faster than this, again and again, has something wrong with it that a restart may not mend.
TOO_SOON_S = 5
#: How often HTTP may die that fast before it has served anything.
TRIES = 3
#: Seconds of pause before a child that died at once is started again: the first pause, which doubles, and the longest.
PAUSES_S = (0.5, 30.0)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Child:
    """One of our commands as a child process. It ends when this process does, however this process ends."""

    def __init__(self, command: str, stop_within_s: float) -> None:
        self.command = command
        self.stop_within_s = stop_within_s
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.failures = 0
        #: When it is started again; None while it lives.
        self.due: float | None = None

    def start(self) -> None:
        # The child gets a session of its own. So Ctrl-C reaches only this process, which stops the children in order.
        self.started, self.due = time.monotonic(), None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "metronome", self.command],
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )

    def revive(self, *, tries: int | None = None) -> None:
        """Start it again if it died, now or after a pause; raises SetupError once it died so many times at once."""
        if self.process is None or self.process.poll() is None:
            return
        now = time.monotonic()
        if self.due is None:
            self.failures = self.failures + 1 if now - self.started < TOO_SOON_S else 0
            if tries is not None and self.failures >= tries:
                raise SetupError(
                    f"metronome {self.command} ends at once (exit {self.process.returncode}); its messages are above"
                )
            pause = min(PAUSES_S[0] * 2 ** (self.failures - 1), PAUSES_S[1]) if self.failures else 0
            self.due = now + pause
        if now >= self.due:
            self.start()

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self) -> None:
        self.signal(signal.SIGTERM)
        if self.process is not None:
            try:
                self.process.wait(self.stop_within_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies, so that its kill -9 leaves no child running (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Installation:
    """The processes of one `metronome up`."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.say = say
        self.stopping = threading.Event()
        self.node: Node | None = None
        self.drain = Child("drain", stop_within_s=30)
        self.streams = Child("streams", stop_within_s=30)
        self.web = Child("serve", stop_within_s=30)
        self.listen = Child("listen", stop_within_s=30)

    def run(self) -> None:
        """Start all, announce, and watch until SIGINT or SIGTERM. Raises SetupError with what is wrong."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, lambda number, frame: self.web.signal(signal.SIGHUP))
        try:
            self._start()
            self._watch()
        finally:
            self._stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stopping.set()

    def _start(self) -> None:
        self.settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_bind(self.settings.bind)
        if self.settings.listens:
            access.ports(self.settings)
        address = None
        if not self.settings.elasticsearch_url:
            self.node = Node(self.settings, say=self.say)
            address = self.node.start()
        if self.stopping.is_set():
            return
        client = connect(self.settings, address)
        try:
            check_start(self.settings, lambda: Keyring(self.settings, client))
            found = wait_until_usable(client, timeout_s=0 if self.node is None else 30)
            indices.install(client, self.settings)
            make_sample(client, self.settings)
            self.say(f"Elasticsearch {found} is ready")
        except StoreUnavailable as error:
            if self.node is not None:
                raise
            # A cluster of the user's own may start later. The drain waits for it, and then installs the template.
            self.say(f"{error}; ticks are kept on disk until Elasticsearch is back")
        finally:
            client.close()
        self.drain.start()
        self.streams.start()
        self.web.start()
        if self.settings.listens:
            self.listen.start()
        self._await_ready()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.stopping.is_set():
            if is_ready(self.settings.bind):
                self.say(welcome(self.settings))
                return
            self.web.revive(tries=TRIES)
            self.drain.revive()
            self.streams.revive()
            self.listen.revive()
            if time.monotonic() > deadline:
                if self.web.failures == 0:
                    self.say(f"HTTP on {self.settings.bind} isn't ready after {READY_WITHIN_S} s; /readyz says why")
                    return
                raise SetupError(
                    f"HTTP on {self.settings.bind} isn't ready after {READY_WITHIN_S} s; the log above says why"
                )
            self.stopping.wait(0.05)

    def _watch(self) -> None:
        while not self.stopping.wait(0.5):
            self.drain.revive()
            self.web.revive()
            self.streams.revive()
            self.listen.revive()
            if self.node is not None and not self.node.alive():
                self.say("The private Elasticsearch has ended; starting it again")
                self.node.stop()
                self.node.start()
                # Both read Elasticsearch's address only when they start.
                self.drain.stop()
                self.web.signal(signal.SIGTERM)

    def _stop(self) -> None:
        # A second Ctrl-C must not cut the order short.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if self.web.process is not None:
            self.say("Stopping …")
        self.listen.stop()
        self.web.stop()
        self.streams.stop()
        self.drain.stop()
        if self.node is not None:
            self.node.stop()
        self.say("Stopped. Everything accepted is on disk.")


def welcome(settings: Settings) -> str:
    url = url_of(settings.bind)
    return f"""
Metronome listens on {url}

  A tick:   curl -H 'Content-Type: application/json' -d '{{"id": "home"}}' {url}/tick
  A tock:   curl {url}/tock/home.json
  Try it:   {url}/try
  A lively site's month to look at, in another terminal:   {_demo(url)}
{_other_ports(settings)}
Data is in {settings.home}. Ctrl-C stops everything; nothing accepted is lost.
"""


def _demo(url: str) -> str:
    """The command that fills this gateway, as it can be pasted into a shell in the same folder."""
    program = sys.argv[0] if sys.argv[0].endswith("/metronome") else "metronome"
    return f"{'' if url == Settings().url else f'METRONOME_URL={url} '}{program} demo"


def _other_ports(settings: Settings) -> str:
    rows = {
        "forward protocol": settings.forward_bind,
        "JSON lines (TCP)": settings.lines_bind,
        "JSON (UDP)": settings.lines_udp_bind,
    }
    lines = "".join(f"  {what}: {bind}\n" for what, bind in rows.items() if bind)
    return f"\n{lines}" if lines else ""


def _check_bind(bind: str) -> None:
    import socket

    host, _, port = bind.rpartition(":")
    if not port.isdecimal():
        raise SetupError(f"METRONOME_BIND: {bind!r} isn't an address and port, such as 127.0.0.1:8000")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            raise SetupError(
                f"METRONOME_BIND: {bind} can't be used ({error.strerror}); set it to another address and port"
            ) from None


def run(settings: Settings) -> None:
    """Start everything and stay until asked to stop."""

    def say(text: str) -> None:
        print(text, flush=True)

    try:
        Installation(settings, say).run()
    except KeyboardInterrupt:  # Ctrl-C before our signal handlers were installed
        os._exit(130)
