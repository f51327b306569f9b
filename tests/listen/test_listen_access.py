"""Who may send: the handshake, TLS, and what refuses to start."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
from elasticsearch import Elasticsearch
from listening import Listening, ack, everything, listening, pack

from metronome.errors import SetupError
from metronome.listen.access import ports
from metronome.listen.handshake import host_name
from metronome.settings import Settings

GOOD = pack(["t", 1421884800, {"id": "good"}, {"chunk": "good"}])
SECRETS = {
    "METRONOME_FORWARD_SHARED_KEY": "very secret",
    "METRONOME_FORWARD_USERNAME": "ann",
    "METRONOME_FORWARD_PASSWORD": "pass",
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A CA, a certificate of the server and one of a client, by openssl."""
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", *subject, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2")
    for name in ("server", "client"):
        openssl("req", *subject, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost")
        sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *sign)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def guarded(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Listening]:
    """With a shared key, a user and a password."""
    with listening(engine_settings, elasticsearch, tmp_path_factory.mktemp("listen"), **SECRETS) as found:
        yield found


def sha512(*parts: bytes) -> str:
    return hashlib.sha512(b"".join(parts)).hexdigest()


def read(sender: Any) -> Any:
    """The next MessagePack value, None at the end."""
    unpacker = msgpack.Unpacker()
    while data := sender.recv(4096):
        unpacker.feed(data)
        for value in unpacker:
            return value
    return None


def shake(
    sender: Any, key: str = "very secret", user: str = "ann", password: str = "pass", host: str = "client"
) -> Any:
    """The client's side as the specification says; gives the PONG."""
    name, options = read(sender)
    assert (name, options["keepalive"], len(options["nonce"])) == ("HELO", True, 16)
    salt = b"0123456789abcdef"
    digest = sha512(salt, host.encode(), options["nonce"], key.encode())
    secret = sha512(options["auth"], user.encode(), password.encode()) if options["auth"] else ""
    sender.sendall(pack(["PING", host, salt, digest, user, secret]))
    pong = read(sender)
    if pong[1]:
        assert pong[4] == sha512(salt, pong[3].encode(), options["nonce"], key.encode())
    return pong[:4]


def test_who_knows_key_user_and_password_is_let_in(guarded: Listening) -> None:
    with guarded.connect() as sender:
        assert shake(sender) == ["PONG", True, "", host_name()]
        sender.sendall(GOOD)
        assert sender.recv(100) == ack("good")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"key": "other"}, "shared key mismatch"),
        ({"key": ""}, "shared key mismatch"),
        ({"user": "bob"}, "username/password mismatch"),
        ({"user": ""}, "username/password mismatch"),
        ({"password": "other"}, "username/password mismatch"),
    ],
    ids=["another key", "no key", "another user", "no user", "another password"],
)
def test_whoever_does_not_is_told_so_and_shut_out(guarded: Listening, wrong: dict[str, str], reason: str) -> None:
    before = guarded.spooled()
    with guarded.connect() as sender:
        assert shake(sender, **wrong) == ["PONG", False, reason, ""]
        sender.sendall(GOOD)
        assert everything(sender) == b""
    assert guarded.spooled() == before


@pytest.mark.parametrize(
    "first",
    [
        GOOD,
        b"GET / HTTP/1.1\r\n\r\n",
        pack(["PING", "client"]),
        pack(["PING", 1, 2, 3, 4, 5]),
        pack(["PONG", "a", "b", "c", "d", "e"]),
        pack(["PING", "x" * 5000, "b", "c", "d", "e"]),
        b"\x96\xc1",
    ],
    ids=["an event", "HTTP", "a short PING", "a PING of numbers", "a PONG", "a PING of 5 KB", "no MessagePack"],
)
def test_who_does_not_shake_hands_is_shut_out(guarded: Listening, first: bytes) -> None:
    before = guarded.spooled()
    answer = guarded.exchange(first, GOOD)
    assert answer.startswith(b"\x92\xa4HELO")
    assert ack("good") not in answer
    assert guarded.spooled() == before


def test_a_ping_cannot_be_repeated_on_another_connection(guarded: Listening) -> None:
    with guarded.connect() as one, guarded.connect() as other:
        nonces = {read(one)[1]["nonce"], read(other)[1]["nonce"]}
    assert len(nonces) == 2


def test_the_key_alone_is_enough_where_no_user_is_set(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    only = {"METRONOME_FORWARD_SHARED_KEY": "very secret"}
    with listening(engine_settings, elasticsearch, tmp_path, **only) as alone, alone.connect() as sender:
        assert shake(sender, user="", password="")[1] is True
        sender.sendall(GOOD)
        assert sender.recv(100) == ack("good")


def test_tls_with_handshake_and_plain_text_refused(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path, certificate: dict[str, Path]
) -> None:
    environ = {
        **SECRETS,
        "METRONOME_LISTEN_TLS_CERT": str(certificate["server.pem"]),
        "METRONOME_LISTEN_TLS_KEY": str(certificate["server.key"]),
    }
    context = ssl.create_default_context(cafile=certificate["ca.pem"])
    with listening(engine_settings, elasticsearch, tmp_path, **environ) as alone:
        with context.wrap_socket(alone.connect(), server_hostname="127.0.0.1") as sender:
            assert shake(sender)[1] is True
            sender.sendall(GOOD)
            assert sender.recv(100) == ack("good")
        with context.wrap_socket(alone.connect(alone.lines), server_hostname="127.0.0.1") as sender:
            sender.sendall(b'{"id": "line"}\n')
        with alone.connect() as plain:
            plain.sendall(GOOD)
            assert ack("good") not in everything(plain)


def test_with_a_client_ca_only_its_certificates_are_let_in(
    engine_settings: Settings, elasticsearch: Elasticsearch, tmp_path: Path, certificate: dict[str, Path]
) -> None:
    environ = {
        "METRONOME_LISTEN_TLS_CERT": str(certificate["server.pem"]),
        "METRONOME_LISTEN_TLS_KEY": str(certificate["server.key"]),
        "METRONOME_LISTEN_TLS_CLIENT_CA": str(certificate["ca.pem"]),
    }
    context = ssl.create_default_context(cafile=certificate["ca.pem"])
    with listening(engine_settings, elasticsearch, tmp_path, **environ) as alone:
        with pytest.raises((ssl.SSLError, ConnectionError)):  # noqa: SIM117
            with context.wrap_socket(alone.connect(), server_hostname="127.0.0.1") as sender:
                sender.sendall(GOOD)
                if not sender.recv(100):
                    raise ConnectionError
        context.load_cert_chain(certificate["client.pem"], certificate["client.key"])
        with context.wrap_socket(alone.connect(), server_hostname="127.0.0.1") as sender:
            sender.sendall(GOOD)
            assert sender.recv(100) == ack("good")


#: Settings that aren't meant, and what is said of them.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing to listen to": ({"forward_bind": ""}, "nothing to listen to: set METRONOME_FORWARD_BIND"),
    "forward on all addresses": ({"forward_bind": ":24224"}, "everybody could send to 0.0.0.0:24224"),
    "forward, open to all": ({"forward_bind": "0.0.0.0:24224"}, "METRONOME_FORWARD_BIND: everybody could send"),
    "lines, open to all": ({"lines_bind": "0.0.0.0:5959"}, "METRONOME_LINES_BIND: everybody could send"),
    "UDP, open to all": ({"lines_udp_bind": "[::]:5959"}, "METRONOME_LINES_UDP_BIND: everybody could send"),
    "a shared key doesn't guard lines": (
        {"lines_bind": "0.0.0.0:5959", "forward_shared_key": "k"},
        "METRONOME_LINES_BIND: everybody could send",
    ),
    "only who has a key, and there is none": ({"open": "no"}, "METRONOME_FORWARD_BIND: everybody could send"),
    "a user without a key": ({"forward_username": "ann"}, "METRONOME_FORWARD_USERNAME: the handshake needs"),
    "a certificate without its key": ({"listen_tls_cert": "/x.pem"}, "TLS needs both"),
    "a certificate that isn't there": (
        {"listen_tls_cert": "/x.pem", "listen_tls_key": "/x.key"},
        "METRONOME_LISTEN_TLS_CERT and _KEY: they can't be used",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_cannot_be_meant_are_refused_with_advice(name: str) -> None:
    changed, message = REFUSED[name]
    with pytest.raises(SetupError, match=re.escape(message)):
        ports(replace(Settings(forward_bind="127.0.0.1:24224"), **changed))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"forward_bind": "[::1]:24224"},
        {"forward_bind": "localhost:24224"},
        {"forward_bind": "0.0.0.0:24224", "forward_shared_key": "k"},
        {"forward_bind": "0.0.0.0:24224", "open": "yes"},
        {"lines_udp_bind": "0.0.0.0:5959", "open": "yes"},
        {"forward_shared_key": "k", "open": "no"},
    ],
    ids=["loopback", "IPv6", "localhost", "a key", "open to all, as said", "UDP, as said", "only with a key"],
)
def test_settings_that_are_meant_are_taken(changed: dict[str, Any]) -> None:
    assert ports(replace(Settings(forward_bind="127.0.0.1:24224"), **changed)).forward


def test_a_port_that_is_taken_is_one_line_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        environ = {"METRONOME_HOME": str(tmp_path), "METRONOME_FORWARD_BIND": bind}
        run = subprocess.run([sys.executable, "-m", "metronome", "listen"], env=environ, capture_output=True, text=True)
    assert run.returncode == 1
    assert f"metronome: {bind} can't be used (" in run.stderr and "Traceback" not in run.stderr
