"""A worker process: one loop that waits for clients, and threads that never do.

The loop reads and writes all sockets, without blocking. A thread gets a connection once a whole request has come, and
leaves it to the loop to send an answer to a slow client. So thousands of slow clients take a bounded amount of memory,
and no thread. `Pace` has the time limits of a client. When the room for unfinished requests is full, the oldest one is
closed.

From gunicorn this uses the worker's frame (`base.Worker`: signals, heartbeat, loading), `Request` and `wsgi.create`,
which gunicorn's own workers are made of too. gunicorn's thread worker isn't used, since it gives a connection a thread
as soon as one byte has arrived.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from functools import partial
from queue import SimpleQueue
from typing import Any

from gunicorn.http import wsgi
from gunicorn.http.errors import ParseException
from gunicorn.workers import base

from metronome.errors import MetronomeError
from metronome.logs import Sparing
from metronome.web.arriving import Arrived, Arriving
from metronome.web.connection import Connection, Outgoing, Pace, Taker
from metronome.web.problems import NO_ROOM, TOO_SLOW, Problem, answer, problem

log = logging.getLogger("metronome.web")

#: A thread waits so long for its connection's next request, in milliseconds, before the connection goes to the loop.
LINGER_MS = 50

#: Unfinished requests of a worker hold at most so many bytes, and those that wait for a thread as many again.
ROOM_BYTES = 64 * 2**20

#: A stopping worker keeps idle connections so long, for a request that may be on its way.
STOP_IDLE_S = 2.0

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Worker(base.Worker):
    """gunicorn's frame around our loop and threads."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        settings = self.app.settings
        self._pace = Pace(
            head_s=settings.header_timeout_s,
            body_s=settings.body_timeout_s,
            bytes_per_s=settings.min_bytes_per_s,
            keepalive_s=settings.keepalive_s,
        )
        self._max_connections = settings.connections
        self._max_body_bytes = settings.max_body_bytes
        self._taker: Taker | None = None
        self._sparing = Sparing()
        self._connections: set[Connection] = set()
        #: Connections that wait for a thread or have one.
        self._served = 0
        self._ready: SimpleQueue[Connection | None] = SimpleQueue()
        self._done: deque[Connection] = deque()
        self._unfinished_bytes = 0
        self._waiting_bytes = 0
        self._swept = 0.0
        self._stopped_at: float | None = None

    # --- The loop ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until SIGTERM; then finish what is under way."""
        self._taker = self.wsgi.extensions.get("handover")
        self._poller = selectors.DefaultSelector()
        #: Watched alone while so much waits for threads that nothing more is read.
        self._only_done = selectors.DefaultSelector()
        for poller in (self._poller, self._only_done):
            # gunicorn's handler of signals writes here too.
            poller.register(self.PIPE[0], _READ, self._on_wake)
        for _ in range(self.cfg.threads):
            threading.Thread(target=self._work, daemon=True).start()
        for listener in self.sockets:
            listener.setblocking(False)
            self._poller.register(listener, _READ, partial(self._on_client, listener))
        while self.alive and self.ppid == os.getppid():
            self._turn()
        self._stop()

    def _turn(self) -> None:
        self.notify()
        poller = self._poller if self._waiting_bytes <= ROOM_BYTES else self._only_done
        for key, _ in poller.select(1.0):
            key.data()
        now = time.monotonic()
        if now - self._swept >= 1:
            self._swept = now
            self._sweep(now)

    def _stop(self) -> None:
        """Take no new connection; answer what is under way, and close idle ones soon."""
        self._stopped_at = time.monotonic()
        for listener in self.sockets:
            self._poller.unregister(listener)
        while self._connections and time.monotonic() < self._stopped_at + self.cfg.graceful_timeout:
            self._turn()
        for _ in range(self.cfg.threads):
            self._ready.put(None)
        for connection in list(self._connections):
            self._forget(connection)
        for listener in self.sockets:
            listener.close()

    def _on_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.PIPE[0], 4096)
        while self._done:
            self._on_served(self._done.popleft())

    def _on_client(self, listener: socket.socket) -> None:
        if len(self._connections) >= self._max_connections and not self._close_slowest():
            # All are at work: the others wait in the listener's queue, and this loop for a thread.
            time.sleep(0.001)
            return
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and not self._close_slowest():
                time.sleep(0.01)
            return
        connection = Connection(sock, client, Arriving(self.cfg, client, self._max_body_bytes))
        self._connections.add(connection)
        self._watch(connection)

    def _on_readable(self, connection: Connection) -> None:
        if not connection.watched:
            return  # what came before in this turn has closed it
        if not connection.receive():
            self._on_end(connection)
        elif not connection.draining:
            self._look(connection)
            self._make_room()

    def _on_end(self, connection: Connection) -> None:
        """The client has sent all it will. It may still read: a body cut short is answered."""
        try:
            connection.arriving.end()
        except MetronomeError as error:
            if not connection.draining:
                self._refuse(connection, problem(error))
                return
        self._forget(connection)

    def _look(self, connection: Connection) -> None:
        """Give the connection to a thread if a request has come."""
        try:
            found = connection.next()
        except (ParseException, MetronomeError) as error:
            self._refuse(connection, self._explained(error))
            return
        self._count(connection)
        if found:
            self._unwatch(connection)
            self._serve_in_thread(connection)
        elif connection.closing:
            self._forget(connection)

    def _serve_in_thread(self, connection: Connection) -> None:
        assert connection.arrived is not None
        self._served += 1
        connection.borrowed = len(connection.arrived.body)
        self._waiting_bytes += connection.borrowed
        self._ready.put(connection)

    def _on_served(self, connection: Connection) -> None:
        self._served -= 1
        self._waiting_bytes -= connection.borrowed
        if connection.taken:
            self._forget(connection)
        elif connection.arrived is not None:
            self._serve_in_thread(connection)
        else:
            self._count(connection)
            self._watch(connection)

    def _on_writable(self, connection: Connection) -> None:
        if not connection.watched:
            return
        connection.flush()
        if not connection.unsent:
            self._unwatch(connection)
            self._watch(connection)

    # --- What the loop does with a connection -------------------------------------------------------------------

    def _watch(self, connection: Connection) -> None:
        """Wait for what the connection's state needs next: room to write, the end, or bytes to read."""
        connection.watched = True
        if connection.unsent:
            self._poller.register(connection.sock, _WRITE, partial(self._on_writable, connection))
            return
        if connection.closing and not connection.draining:
            connection.start_draining()
        self._poller.register(connection.sock, _READ, partial(self._on_readable, connection))

    def _unwatch(self, connection: Connection) -> None:
        if connection.watched:
            self._poller.unregister(connection.sock)
            connection.watched = False

    def _forget(self, connection: Connection) -> None:
        self._unwatch(connection)
        self._unfinished_bytes -= connection.counted
        self._connections.remove(connection)
        # Another process that has taken the socket keeps it open.
        connection.sock.close()

    def _refuse(self, connection: Connection, refused: Problem, *, retry_after_s: int | None = None) -> None:
        """Answer, and close once the client had the time to read it."""
        self._unwatch(connection)
        self._say_no(connection, refused, retry_after_s=retry_after_s)
        self._watch(connection)
        self._count(connection)

    def _say_no(self, connection: Connection, refused: Problem, *, retry_after_s: int | None = None) -> None:
        self.wsgi.extensions["metrics"].requests.labels("none", str(refused[0])).inc()
        connection.answered(close=True)
        connection.send(answer(refused, retry_after_s=retry_after_s, plain=connection.arriving.plain))

    def _count(self, connection: Connection) -> None:
        size = connection.arriving.size
        self._unfinished_bytes += size - connection.counted
        connection.counted = size

    def _make_room(self) -> None:
        """Close the oldest unfinished requests first, since those of quick clients are all young."""
        while self._unfinished_bytes > max(ROOM_BYTES, 2 * self._max_body_bytes):
            unfinished = [one for one in self._connections if one.watched and one.counted]
            if not unfinished:
                return
            self._refuse(min(unfinished, key=lambda one: one.since), NO_ROOM, retry_after_s=1)

    def _close_slowest(self) -> bool:
        """Make room for a connection: an unfinished request's goes before an idle one, the oldest first."""
        waiting = [one for one in self._connections if one.watched and not one.unsent]
        if not waiting:
            return False
        self._forget(min(waiting, key=lambda one: (not one.draining, one.idle and one.asked, one.since)))
        return True

    def _sweep(self, now: float) -> None:
        """Close what is past its deadline; who has begun a request is told."""
        for connection in [one for one in self._connections if one.watched]:
            deadline = connection.deadline(self._pace)
            if self._stopped_at is not None and connection.idle and not connection.unsent:
                deadline = min(deadline, self._stopped_at + STOP_IDLE_S)
            if deadline > now:
                continue
            if connection.idle or connection.unsent or connection.draining:
                self._forget(connection)
            else:
                self._refuse(connection, TOO_SLOW)

    # --- In a thread -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (connection := self._ready.get()) is not None:
            try:
                self._serve(connection)
            except Exception:
                log.exception("a connection could not be served")
                connection.unsent.clear()
                connection.answered(close=True)
            self._done.append(connection)
            with contextlib.suppress(OSError):  # the pipe is full: the loop is awake
                os.write(self.PIPE[1], b"\0")

    def _serve(self, connection: Connection) -> None:
        """Answer the connection's request, and those that follow closely.

        From the loop to a thread and back it takes a pipe, a queue and two changes of thread.
        """
        while connection.arrived is not None:
            self._answer(connection, connection.arrived)
            if connection.taken or connection.closing or connection.unsent:
                return
            try:
                if not connection.next():
                    self._linger(connection)
            except (ParseException, MetronomeError) as error:
                self._say_no(connection, self._explained(error))
                return
            if self._is_busy():
                return

    def _linger(self, connection: Connection) -> None:
        """Wait a moment for the next request, unless others may need the thread or the worker has to stop."""
        until = time.monotonic() + LINGER_MS / 1000
        while not self._is_busy() and (left := until - time.monotonic()) > 0:
            if not connection.wait_readable(left * 1000):
                return
            if not connection.receive() or connection.next():
                return

    def _is_busy(self) -> bool:
        return not self.alive or self._served > self.cfg.threads // 2

    def _answer(self, connection: Connection, arrived: Arrived) -> None:
        if self._taker is not None and self._taker(connection, arrived):
            return
        outgoing = Outgoing(connection, self._pace.body_s)
        request = arrived.request
        try:
            response, environ = wsgi.create(request, outgoing, connection.client, connection.server, self.cfg)
            environ["wsgi.input"] = io.BytesIO(arrived.body)
            environ["wsgi.multithread"] = True
            if not arrived.whole or not self.alive:
                response.force_close()
            self._write(response, self.wsgi(environ, response.start_response))
        except Exception as error:
            if outgoing.started:
                raise
            self._say_no(connection, self._explained(error))
            return
        connection.answered(close=response.should_close())
        connection.send(outgoing.data)

    def _write(self, response: Any, parts: Any) -> None:
        try:
            for part in parts:
                response.write(part)
            response.close()
        finally:
            if hasattr(parts, "close"):
                parts.close()

    def _explained(self, error: Exception) -> Problem:
        """Log the error, and give the answer for the client."""
        refused = problem(error)
        if refused[0] == 500:
            log.error("a request could not be handled", exc_info=error)
        elif (unsaid := self._sparing.turn(type(error).__name__)) is not None:
            log.warning("what came can't be read as HTTP", extra={"problem": str(error)[:200], "unsaid": unsaid})
        return refused
