"""The private Elasticsearch that runs where ELASTICSEARCH_URL isn't set: start it, stop it, find it.

Four rules, and how this file keeps them:

1. Each METRONOME_HOME has one node. `lock` is flocked from start to stop. The kernel frees it however we end.
2. No process of the node outlives us, not even after kill -9. Elasticsearch is two JVMs, a launcher and a server.
   The launcher is our child. It asks the kernel for SIGTERM when the thread that started it ends, so this process
   keeps one thread only for that. The server ends when the launcher tells it to, or when the pipe between the two
   closes. A server that is still booting ends as soon as it has booted. If all that fails, the next start finds
   leftover processes by their command line, which names our folder, and stops them.
3. Only this installation can use the node. It listens on 127.0.0.1 and asks for a password. The password lies in a
   folder of mode 0700.
4. Other processes of this installation find the node by `address.json`. They send the password only to the process
   that the file names.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from metronome.errors import SetupError
from metronome.files import Lock, replace_file
from metronome.node import download, failures, launch
from metronome.node.download import Say
from metronome.node.failures import no_port
from metronome.settings import Settings, environment
from metronome.store.address import Address

START_S = 120
STOP_S = 30  # Elasticsearch flushes its indices to disk in this time
USER = "elastic"


class Node:
    """The private node of one installation. It can be started again after a `stop`.

    `start` and `stop` may be called from different threads. A `stop` also ends a start that is under way. A `stop`
    before the first start makes that start fail.
    """

    def __init__(self, settings: Settings, *, say: Say = lambda line: None) -> None:
        self.settings = settings
        self.log_path = settings.node_dir / "logs" / "elasticsearch.log"
        self._say = say
        self._lock: Lock | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._guard = threading.Lock()
        self._stopped = False
        self._answered = False

    def __enter__(self) -> Node:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the launcher, which leads the process group of both JVMs; None before the start."""
        return self._process.pid if self._process else None

    def alive(self) -> bool:
        return self._keeper is not None and self._keeper.is_alive()

    def start(self) -> Address:
        """Start the node; return its address once it accepts our password and its health is yellow or green.

        The first start of a version on this machine downloads about 100 MB. Raises SetupError; no process runs then.
        """
        settings = self.settings
        if os.uname().sysname != "Linux":
            raise SetupError("The private Elasticsearch runs on Linux only; set ELASTICSEARCH_URL to use your cluster")
        download.release(settings.node_version)
        with self._guard:
            if self._process is not None and not self.alive():
                self._process, self._stopped, self._answered = None, False, False
        try:
            self._lock = _locked(settings)
            _stop_leftovers(settings, self._say)
            ready = launch.prepare(settings, environment(), _ports(settings), say=self._say)
            address = self._run(ready, launch.password(ready))
            _remember(settings, address, self.pid)
        except BaseException:
            self.stop()
            raise
        return address

    def stop(self) -> None:
        """End the node in order, or by force after 30 s. Returns once none of its processes is left."""
        with self._guard:
            self._stopped = True
        if self._process is not None and self._keeper is not None:
            # A server that is still booting ignores signals and has no data to save yet, so it is only killed, below.
            if self.alive() and self._answered:
                _signal(self._process.pid, signal.SIGTERM)
                self._keeper.join(STOP_S)
            # This check follows an orderly end too: the server may outlive a launcher that was killed.
            if not self._answered or not _ended(lambda: not _processes(self.settings), 1):
                _kill_group(self._process.pid, self.settings)
            self._keeper.join()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _run(self, ready: launch.Launch, password: str) -> Address:
        ports_file = ready.node / "logs" / "http.ports"
        ports_file.unlink(missing_ok=True)
        since = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._say(f"Starting Elasticsearch {self.settings.node_version} (log: {self.log_path})")
        self._launch(ready)
        deadline = time.monotonic() + START_S
        health: dict[str, Any] | None = None
        while time.monotonic() < deadline:
            if not self.alive():
                raise self._failure(since)
            port = ports_file.read_text().split() if ports_file.exists() else []
            if port:
                address = Address(f"http://{port[0]}", USER, password)
                health = _ask_health(address)
                self._answered = self._answered or health is not None
                if health is not None and health["status"] != "red":
                    return address
            time.sleep(0.05)
        if health is not None:
            raise SetupError(
                f"Elasticsearch runs, but {health['unassigned_shards']} shards of its indices don't open "
                f"(health is red) after {START_S} s; {self.log_path} says why"
            )
        raise SetupError(f"Elasticsearch didn't answer within {START_S} s; {self.log_path} tells how far it got")

    def _launch(self, ready: launch.Launch) -> None:
        """Start the launcher from a thread that waits until the launcher ends; see rule 2 at the head of this file."""
        outcome: list[SetupError] = []
        under_way = threading.Event()

        def keep() -> None:
            try:
                with warnings.catch_warnings(), (ready.node / "logs" / "start.log").open("wb") as log:
                    # Python 3.12+ warns of every fork in a process with threads. This one is safe: the new process
                    # only makes system calls before it turns into Java.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    self._process = ready.spawn(
                        ready.command("server"),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
            except SetupError as error:
                outcome.append(error)
                return
            finally:
                under_way.set()
            self._process.wait()

        with self._guard:
            if self._stopped:
                raise SetupError("Elasticsearch was stopped before it had started")
            self._keeper = threading.Thread(target=keep, name="elasticsearch", daemon=True)
            self._keeper.start()
            under_way.wait()
        if outcome:
            raise outcome[0]

    def _failure(self, since: int) -> SetupError:
        """The error that says why the process ended before it answered, and what to do."""
        assert self._process is not None and self._keeper is not None
        self._keeper.join()
        if self._stopped:
            return SetupError("Elasticsearch was stopped before it had started")
        logs = (self.log_path.with_name("start.log"), 0), (self.log_path, since)
        return failures.explain(self.settings, logs, self._process.returncode)


def running(settings: Settings) -> Address | None:
    """The address of the node that another process of this installation runs; None if none answers."""
    try:
        state = json.loads((settings.node_dir / "address.json").read_text())
        password = Path(state["password_file"]).read_text()
    except PermissionError as error:
        raise SetupError(
            f"{error.filename} belongs to another user; run this command as the user who runs the gateway"
        ) from error
    except (OSError, ValueError, KeyError):
        return None
    # Another program may hold the port by now. It must not see the password.
    if state["pid"] not in _processes(settings):
        return None
    address = Address(state["url"], USER, password)
    return address if _ask_health(address) is not None else None


def _remember(settings: Settings, address: Address, pid: int | None) -> None:
    file = settings.node_dir / "address.json"
    state = {"url": address.url, "pid": pid, "password_file": str(settings.node_dir / "password")}
    replace_file(file, json.dumps(state))


def _ports(settings: Settings) -> str:
    """The ports that Elasticsearch tries, in order. `9203,9200-9299` begins with its last port, 9203."""
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", settings.node_port)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise SetupError(f"METRONOME_NODE_PORT: {settings.node_port!r} is neither a port nor a range such as 9200-9299")
    if not any(_is_free(port) for port in range(first, last + 1)):
        raise no_port(settings)
    try:
        before = int(json.loads((settings.node_dir / "address.json").read_text())["url"].rpartition(":")[2])
    except (OSError, ValueError, KeyError):
        return settings.node_port
    return f"{before},{settings.node_port}" if first <= before <= last != first else settings.node_port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Elasticsearch sets this option too. It may take a port whose last connections are still closing.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _locked(settings: Settings) -> Lock:
    """Take the lock of METRONOME_HOME; raises SetupError if another process holds it."""
    lock = Lock(settings.node_dir / "lock")
    # If the folder can't be made, `take` raises an error that says so.
    with contextlib.suppress(OSError):
        lock.path.parent.mkdir(parents=True, exist_ok=True)
    if not lock.take():
        raise SetupError(
            f"METRONOME_HOME: {settings.home} is in use by process {lock.holder()}; stop that, or set another folder"
        )
    return lock


def _processes(settings: Settings) -> set[int]:
    """The JVMs, of this process or any other, whose command line names this installation's folder."""
    mark = f"={settings.node_dir}/".encode()
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                program, *arguments = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            if program.endswith(b"java") and any(mark in argument for argument in arguments):
                found.add(int(folder.name))
    return found


def _stop_leftovers(settings: Settings, say: Say) -> None:
    """End JVMs that an earlier process left behind when it was killed.

    We hold the lock of METRONOME_HOME, so a JVM of this folder can't belong to another process that runs.
    """
    left = _processes(settings)
    if not left:
        return
    say("Stopping the Elasticsearch that an earlier run has left")
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _processes(settings):
            _signal(pid, number)
        if _ended(lambda: not _processes(settings), STOP_S):
            return
    raise SetupError(f"Elasticsearch of an earlier run doesn't end; end its processes {sorted(left)} yourself")


def _kill_group(pid: int, settings: Settings) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    _ended(lambda: not _processes(settings), 10)


def _ended(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _ask_health(address: Address) -> dict[str, Any] | None:
    """The answer of `_cluster/health`; None if nothing listens, it isn't ready, or it refuses our password."""
    token = base64.b64encode(f"{address.username}:{address.password}".encode()).decode()
    # http.client is used because it ignores proxy variables.
    connection = http.client.HTTPConnection(address.url.removeprefix("http://"), timeout=3)
    try:
        connection.request("GET", "/_cluster/health", headers={"Authorization": f"Basic {token}"})
        answer = connection.getresponse()
        health: Any = json.loads(answer.read()) if answer.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return health if isinstance(health, dict) else None
