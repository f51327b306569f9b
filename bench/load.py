"""A load generator that costs little itself: raw sockets, prebuilt requests, one thread however many connections."""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from dataclasses import dataclass


@dataclass
class Result:
    """Seconds each request took, in order of completion, and how long all took together."""

    latencies_s: list[float]
    elapsed_s: float
    statuses: dict[int, int]

    def percentile_ms(self, p: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * p))] * 1000


def request(host: str, path: str, body: bytes, content_type: str, extra: dict[str, str] | None = None) -> bytes:
    """One HTTP/1.1 POST as bytes, ready to send."""
    headers = {"Host": host, "Content-Type": content_type, "Content-Length": str(len(body)), **(extra or {})}
    head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    return head.encode() + body


class _Connection:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.started = 0.0

    def send(self, data: bytes) -> None:
        self.started = time.perf_counter()
        self.buffer = b""
        self.socket.sendall(data)

    def received(self) -> int | None:
        """The status once the whole answer is here, else None."""
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionError("the server closed a connection in the middle of an answer")
        self.buffer += part
        head, blank, body = self.buffer.partition(b"\r\n\r\n")
        if not blank:
            return None
        lower = head.lower()
        if b"content-length:" in lower:
            length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
            return int(head.split(b" ", 2)[1]) if len(body) >= length else None
        return int(head.split(b" ", 2)[1]) if body.endswith(b"0\r\n\r\n") else None


def run(host: str, requests: list[bytes], connections: int) -> Result:
    """Send all requests over so many connections, each waiting for its answer before it sends the next."""
    name, _, port = host.rpartition(":")
    waiting = deque(requests)
    selector = selectors.DefaultSelector()
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    opened = [_Connection((name, int(port))) for _ in range(min(connections, len(requests)))]
    started = time.perf_counter()
    for connection in opened:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(waiting.popleft())
    under_way = len(opened)
    while under_way:
        for key, _ in selector.select():
            connection = key.data
            status = connection.received()
            if status is None:
                continue
            latencies.append(time.perf_counter() - connection.started)
            statuses[status] = statuses.get(status, 0) + 1
            if waiting:
                connection.send(waiting.popleft())
            else:
                under_way -= 1
    elapsed = time.perf_counter() - started
    for connection in opened:
        connection.socket.close()
    return Result(latencies, elapsed, statuses)
