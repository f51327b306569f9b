"""All long connections of the process: taken from the workers, given to their handlers, tended, closed."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from metronome.errors import error_body
from metronome.settings import Settings
from metronome.streams.batches import Batches
from metronome.streams.events import EventStream
from metronome.streams.head import LENGTHS, MAX_MESSAGE_BYTES, Head, message_size, reachable, read_message
from metronome.streams.live import Live
from metronome.streams.routes import Route
from metronome.streams.stream import Closed, Limits, Stream
from metronome.streams.websocket import Socket

log = logging.getLogger("metronome.streams")

#: Seconds for which a worker's message is awaited. A worker sends it at once.
HANDOVER_S = 2.0

_FULL = orjson.dumps(error_body(503, "too_many_streams", "too many live connections are open; try again later"))

_KINDS: dict[str, type[Stream]] = {"websocket": Socket, "events": EventStream}


@dataclass(frozen=True)
class Doors:
    """The arguments of a handler: the door in, what all watchers share, the installation's settings.

    `rooms` hold what the connections of a route share, by the name of `Route.room`.
    """

    batches: Batches
    settings: Settings
    #: None in a process that serves no live routes.
    live: Live | None = None
    rooms: dict[str, Any] = field(default_factory=dict, compare=False)


class Hub:
    """The connections, and the Unix socket on which more come."""

    def __init__(self, routes: Mapping[str, Route], doors: Doors, limits: Limits) -> None:
        self._routes = routes
        self._doors = doors
        self._limits = limits
        self._handlers = {path: _function(route.handler) for path, route in routes.items()}
        self._streams: set[Stream] = set()
        #: Tasks of connections that are being handed over.
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        return len(self._streams)

    async def serve(self, listener: socket.socket, stopping: asyncio.Event) -> None:
        """Take connections until `stopping` is set; then close all of them, and wait for their handlers."""
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as rooms:
            for name in {route.room for route in self._routes.values() if route.room}:
                room, opened = name.split("=")
                self._doors.rooms[room] = await rooms.enter_async_context(_function(opened)(self._doors))
            loop.add_reader(listener, self._on_worker, listener)
            while not stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), min(1.0, self._limits.idle_s / 4))
                self._tend()
            loop.remove_reader(listener)
            await self._stop()
        await self._doors.batches.close()

    def _on_worker(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            worker, _ = listener.accept()
            task = asyncio.create_task(self._take(worker))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _take(self, worker: socket.socket) -> None:
        with worker:
            worker.setblocking(False)
            try:
                async with asyncio.timeout(HANDOVER_S):
                    client, head, early = await _receive(worker)
            except (OSError, ValueError):
                log.warning("a connection that was to be handed over was lost")
                return
        await self._open(client, head, early)

    async def _open(self, client: socket.socket, head: Head, early: bytes) -> None:
        route = self._routes.get(head.path)
        if route is None:  # a worker of another version
            client.close()
            return
        client.setblocking(False)
        if hasattr(socket, "TCP_USER_TIMEOUT") and client.family != socket.AF_UNIX:
            # A peer that vanished without closing acknowledges nothing, so the kernel ends its connection.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._limits.idle_s * 1000))
        stream = _KINDS[route.kind](head, early, self._limits)
        full = len(self._streams) >= self._limits.connections
        await asyncio.get_running_loop().connect_accepted_socket(lambda: stream, client)
        if full:
            with contextlib.suppress(Closed):
                stream.refuse_now(503, _FULL, retry_after_s=10)
            return
        self._streams.add(stream)
        stream.task = asyncio.create_task(self._handle(stream, self._handlers[head.path]))

    async def _handle(self, stream: Stream, handler: Callable[..., Awaitable[None]]) -> None:
        try:
            await handler(stream, self._doors)
        except (Closed, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("the handler of a live connection failed", extra={"path": stream.head.path})
            if isinstance(stream, Socket):
                await stream.close(1011, "something went wrong in the gateway; its log has the details")
        finally:
            try:
                await stream.finish()
            finally:
                self._streams.discard(stream)

    def _tend(self) -> None:
        now = time.monotonic()
        for stream in list(self._streams):
            with contextlib.suppress(Closed):
                stream.tend(now)
            if now - stream.ended > self._limits.finish_s and stream.task is not None:
                stream.task.cancel()

    async def _stop(self) -> None:
        for stream in self._streams:
            with contextlib.suppress(Closed):
                stream.restart()
        tasks = [stream.task for stream in self._streams if stream.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._limits.finish_s)
            for task in late:
                task.cancel()


async def _receive(worker: socket.socket) -> tuple[socket.socket, Head, bytes]:
    """What a worker hands over. Raises OSError or ValueError for what is no message."""
    descriptors: list[int] = []
    try:
        data = await _read(worker, descriptors)
        if len(data) < LENGTHS.size or len(data) != message_size(data) or len(descriptors) != 1:
            raise ValueError("no message with one connection")  # noqa: TRY301 - it closes the connection too
        head, early = read_message(data)
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return socket.socket(fileno=descriptors[0]), head, early


async def _read(worker: socket.socket, descriptors: list[int]) -> bytes:
    """All bytes until the worker's end; file descriptors are added to `descriptors`."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) <= MAX_MESSAGE_BYTES:
        try:
            part, more, _, _ = socket.recv_fds(worker, MAX_MESSAGE_BYTES, 1)
        except BlockingIOError:
            ready = asyncio.Event()
            loop.add_reader(worker, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(worker)
            continue
        descriptors += more
        if not part:
            break
        data += part
    return data


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def listen(path: Path) -> socket.socket:
    """A Unix socket at `path` that only this user can reach."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        with reachable(path) as name:
            listener.bind(name)
    finally:
        os.umask(mask)
    listener.listen(4096)
    listener.setblocking(False)
    return listener
