"""The process: opens the ports, keeps the limits over all connections, and stops in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metronome import logs, process
from metronome.errors import SetupError
from metronome.intake import Intake
from metronome.listen.access import Address, Ports, ports
from metronome.listen.batch import FORWARD, LINES, RETRY_S, Batches, Door, Frame
from metronome.listen.connection import Connection, Deadlines
from metronome.listen.counted import Counted, Find
from metronome.listen.framing import Framer, Lines, Messages
from metronome.listen.handshake import Handshake
from metronome.logs import Sparing
from metronome.metrics import Metrics
from metronome.settings import Settings
from metronome.spool.files import make_folder
from metronome.spool.spool import Spool
from metronome.spool.status import write_listen_status

log = logging.getLogger("metronome.listen")

#: Most bytes of unfinished messages over all connections. Beyond it, the connection with the largest is closed.
UNFINISHED_BYTES = 256 * 2**20

#: A frame of more bytes is a large one.
LARGE_BYTES = 2**18

#: At the limit of connections, one that was idle for this long makes room for a new one.
IDLE_ENOUGH_S = 60

#: How long connections may take to end when the process stops.
STOP_WITHIN_S = 15

#: Room in the kernel for datagrams that wait: some ten thousand.
_DATAGRAM_BYTES = 4 * 2**20

_TELL_EVERY_S = 1.0

#: Open files beside connections: spool, metrics, ports.
_OTHER_FILES = 64


class Listener:
    """All ports of one process; for its event loop."""

    def __init__(
        self,
        settings: Settings,
        where: Ports,
        door: Door,
        metrics: Metrics,
        *,
        deadlines: Deadlines | None = None,
        unfinished_bytes: int = UNFINISHED_BYTES,
        retry_s: float = RETRY_S,
    ) -> None:
        self._settings = settings
        self._where = where
        self._metrics = metrics
        self._deadlines = deadlines or Deadlines()
        self._unfinished_bytes = unfinished_bytes
        #: Large chunks have a queue of their own, so that small messages don't wait while one is decoded for seconds.
        self._small = Batches(door, retry_s=retry_s)
        self._large = Batches(door, retry_s=retry_s)
        self._committing: list[asyncio.Task[None]] = []
        self._servers: list[asyncio.Server] = []
        self._datagrams: list[asyncio.DatagramTransport] = []
        self._connections: dict[Connection, asyncio.Task[Any]] = {}
        self._unfinished = 0
        self._sparing = Sparing()

    async def start(self) -> None:
        """Open every port; raises SetupError where one can't be had."""
        self._committing = [asyncio.create_task(batches.run()) for batches in (self._small, self._large)]
        where = self._where
        if where.forward:
            await self._open(where.forward, FORWARD)
            await self._open_udp(where.forward, lambda: Heartbeats(where.forward))
        if where.lines:
            await self._open(where.lines, LINES)
        if where.lines_udp:
            await self._open_udp(where.lines_udp, lambda: Datagrams(self._take_datagram))

    async def broke(self) -> None:
        """Wait until an unexpected error ends the process; raises that error."""
        done, _ = await asyncio.wait(self._committing, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Take no more, bring to disk and answer what was read, and close."""
        for server in self._servers:
            server.close()
        for transport in self._datagrams:
            transport.close()
        for connection in self._connections:
            connection.end()
        if self._connections:
            _, late = await asyncio.wait(self._connections.values(), timeout=STOP_WITHIN_S)
            for task in late:
                task.cancel()
        for batches in (self._small, self._large):
            batches.close()
        await asyncio.gather(*self._committing, return_exceptions=True)

    async def _open(self, address: Address, dialect: str) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(dialect, reader, writer)

        tls = self._where.tls
        try:
            server = await asyncio.start_server(
                serve,
                address.host,
                address.port,
                limit=2**16,
                backlog=1024,
                ssl=tls,
                ssl_handshake_timeout=self._deadlines.handshake if tls else None,
            )
        except OSError as error:
            raise _cannot_open(address, error) from None
        self._servers.append(server)

    async def _open_udp(self, address: Address, protocol: Callable[[], asyncio.DatagramProtocol]) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(protocol, local_addr=(address.host, address.port))
        except OSError as error:
            raise _cannot_open(address, error) from None
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _DATAGRAM_BYTES)
        self._datagrams.append(transport)

    async def _serve(self, dialect: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._settings.listen_connections and not self._makes_room():
            self._say("full", "no more connections are taken (METRONOME_LISTEN_CONNECTIONS)")
            self._metrics.connections.labels(dialect, "refused").inc()
            writer.transport.abort()
            return
        # With keep-alive, the kernel finds senders that vanished without closing.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection = Connection(
            dialect,
            reader,
            writer,
            put=self._put,
            framer=self._framer(dialect),
            deadlines=self._deadlines,
            weigh=self._weigh,
            say=self._say,
        )
        self._connections[connection] = asyncio.current_task()  # type: ignore[assignment]
        try:
            outcome = await connection.serve(self._handshake(dialect))
            self._metrics.connections.labels(dialect, outcome).inc()
        finally:
            del self._connections[connection]

    async def _put(self, frame: Frame) -> None:
        await (self._small if len(frame.body) <= LARGE_BYTES else self._large).put(frame)

    def _framer(self, dialect: str) -> Framer:
        most = self._settings.max_body_bytes
        return Messages(most) if dialect == FORWARD else Lines(most)

    def _handshake(self, dialect: str) -> Handshake | None:
        wanted = dialect == FORWARD and self._settings.forward_shared_key
        return Handshake(self._settings) if wanted else None

    def _makes_room(self) -> bool:
        """Close the connection that has been idle the longest, if it was so for long enough."""
        idle = [connection for connection in self._connections if connection.is_idle]
        oldest = min(idle, key=lambda connection: connection.last_read, default=None)
        if oldest is None or asyncio.get_running_loop().time() - oldest.last_read < IDLE_ENOUGH_S:
            return False
        oldest.abort("idle while others wait for a connection (METRONOME_LISTEN_CONNECTIONS)")
        return True

    def _weigh(self, more: int) -> None:
        """Keep the sum of unfinished messages bounded, at the cost of the largest."""
        self._unfinished += more
        if more > 0 and self._unfinished > self._unfinished_bytes:
            largest = max(self._connections, key=lambda connection: connection.held)
            largest.abort("too many unfinished messages at one time; this was the largest")

    def _take_datagram(self, body: bytes) -> None:
        if not self._small.offer(Frame(LINES, body, lambda outcome: None)):
            self._metrics.dropped.labels(LINES).inc()
            self._say("dropped", "datagrams are dropped: the spool takes nothing, and UDP can't wait")

    def _say(self, kind: str, text: str) -> None:
        if (unsaid := self._sparing.turn(kind)) is not None:
            log.warning(text, extra={"unsaid": unsaid})


class Heartbeats(asyncio.DatagramProtocol):
    """Answers each heartbeat with one byte, as the protocol says."""

    def __init__(self, own: Address | None) -> None:
        self._own_port = own.port if own else 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        # A forged datagram that seems to come from another gateway's port would bounce between the two for ever.
        if addr[1] != self._own_port:
            self._transport.sendto(b"\0", addr)


class Datagrams(asyncio.DatagramProtocol):
    """Hands on each datagram."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._take(data)


def _cannot_open(address: Address, error: OSError) -> SetupError:
    return SetupError(f"{address.host}:{address.port} can't be used ({error.strerror}); listen on another port")


def allow_files(connections: int) -> None:
    """Raise this process's limit of open files as far as needed and permitted."""
    wanted = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SetupError(f"METRONOME_LISTEN_CONNECTIONS: {connections} need {wanted} open files; {hard} are allowed")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def listen(settings: Settings, find: Find) -> None:
    """`metronome listen`: until SIGTERM or SIGINT. Raises SetupError with what is wrong."""
    where = ports(settings)
    allow_files(settings.listen_connections)
    make_folder(settings.spool_dir)
    logs.configure(settings.log_level, "listen")
    room = {"max_bytes": settings.spool_max_bytes, "reserve_bytes": settings.disk_reserve_bytes}
    spool = Spool(settings.spool_dir, role="listen", **room)
    metrics = Metrics()
    metrics.publish(settings.metrics_dir / spool.slot)
    door = Door(settings, Intake(settings, spool, metrics, folder=settings.spool_dir), Counted(settings, find))
    try:
        asyncio.run(_until_stopped(Listener(settings, where, door, metrics), settings.spool_dir, spool.slot))
    finally:
        # The order matters: the next owner of the spool's slot goes on counting from the published metrics.
        metrics.close()
        spool.close()


async def _tell(folder: Path) -> None:
    """Write once a second that this process runs, for the health checks. A loop that hangs writes nothing."""
    try:
        while True:
            await asyncio.to_thread(write_listen_status, folder, running=True)
            await asyncio.sleep(_TELL_EVERY_S)
    finally:
        write_listen_status(folder, running=False)


async def _until_stopped(listener: Listener, folder: Path, slot: str) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    telling = asyncio.create_task(_tell(folder))
    try:
        await listener.start()
        process.after_start()
        log.info("listening", extra={"spool": slot})
        ends = {telling, asyncio.create_task(stopping.wait()), asyncio.create_task(listener.broke())}
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener.stop()
