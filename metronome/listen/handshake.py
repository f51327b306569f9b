"""Who may send: the handshake of the forward protocol, by a shared key and, if wanted, a user and password.

    server    ["HELO", {"nonce": 16 bytes, "auth": 16 bytes or "", "keepalive": true}]
    client    ["PING", its host name, salt, sha512(salt + its host name + nonce + shared key),
               user, sha512(auth + user + password)]
    server    ["PONG", true or false, reason, our host name, sha512(salt + our host name + nonce + shared key)]

Neither side sends the key itself, and each proves to the other that it knows it. What follows isn't encrypted: that is
what TLS is for. Source: Forward Protocol Specification v1, handshake messages.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
from typing import Any

import msgpack

from metronome.settings import Settings

#: A PING has three digests and three short texts.
MAX_PING_BYTES = 4096


class Handshake:
    """The server's side, for one connection."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.forward_shared_key.encode()
        self._user = settings.forward_username.encode()
        self._password = settings.forward_password.encode()
        self._nonce = os.urandom(16)
        self._auth = os.urandom(16) if self._user else b""

    def helo(self) -> bytes:
        options = {"nonce": self._nonce, "auth": self._auth or "", "keepalive": True}
        return _packed(["HELO", options])

    def pong(self, ping: bytes) -> tuple[bool, bytes]:
        """Whether the client may go on, and what it is told."""
        fields = _ping_fields(ping)
        reason = "this is no PING" if fields is None else self._refusal(*fields)
        if fields is None or reason:
            return False, _packed(["PONG", False, reason, "", ""])
        _, salt, *_ = fields
        name = host_name()
        return True, _packed(["PONG", True, "", name, self._digest(salt, name.encode())])

    def _refusal(self, host: bytes, salt: bytes, digest: bytes, user: bytes, password_digest: bytes) -> str:
        if not hmac.compare_digest(digest, self._digest(salt, host).encode()):
            return "shared key mismatch"
        if self._user:
            expected = hashlib.sha512(self._auth + self._user + self._password).hexdigest().encode()
            known = hmac.compare_digest(user, self._user)
            if not hmac.compare_digest(password_digest, expected) or not known:
                return "username/password mismatch"
        return ""

    def _digest(self, salt: bytes, host: bytes) -> str:
        return hashlib.sha512(salt + host + self._nonce + self._key).hexdigest()


def host_name() -> str:
    """Our name in the handshake. Senders refuse one that is theirs, and many run on the gateway's own machine."""
    return f"metronome.{socket.gethostname()}"


def _ping_fields(ping: bytes) -> list[bytes] | None:
    """What follows "PING", as bytes; None if it isn't that."""
    try:
        message = msgpack.unpackb(ping, raw=True)
    except (ValueError, msgpack.UnpackException):
        return None
    if not isinstance(message, list) or len(message) != 6 or message[0] != b"PING":
        return None
    fields: list[Any] = message[1:]
    return fields if all(isinstance(field, bytes) for field in fields) else None


def _packed(message: list[Any]) -> bytes:
    return bytes(msgpack.packb(message))
