"""The ports, who may use them, and their TLS. Wrong settings are reported before anything starts."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from metronome.errors import SetupError
from metronome.kinds import is_loopback
from metronome.settings import Settings

FORWARD_BIND = "METRONOME_FORWARD_BIND"
LINES_BIND = "METRONOME_LINES_BIND"
LINES_UDP_BIND = "METRONOME_LINES_UDP_BIND"


@dataclass(frozen=True)
class Address:
    """A host and port to listen on."""

    host: str
    port: int


@dataclass(frozen=True)
class Ports:
    """The address of each protocol's port; None means off. `tls` is for both TCP ports."""

    forward: Address | None
    lines: Address | None
    lines_udp: Address | None
    tls: ssl.SSLContext | None


def ports(settings: Settings) -> Ports:
    """The ports of these settings. Raises SetupError for a wrong setting, and for a port that is open unasked."""
    if not settings.listens:
        raise SetupError(f"nothing to listen to: set {FORWARD_BIND}, {LINES_BIND} or {LINES_UDP_BIND}")
    if settings.forward_username and not settings.forward_shared_key:
        raise SetupError("METRONOME_FORWARD_USERNAME: the handshake needs METRONOME_FORWARD_SHARED_KEY too")
    found = Ports(
        _address(settings.forward_bind),
        _address(settings.lines_bind),
        _address(settings.lines_udp_bind),
        _tls(settings),
    )
    known_by_certificate = bool(settings.listen_tls_client_ca)
    known = bool(settings.forward_shared_key) or known_by_certificate
    advice = "set METRONOME_FORWARD_SHARED_KEY or METRONOME_LISTEN_TLS_CLIENT_CA"
    _check(settings, FORWARD_BIND, found.forward, known, advice)
    _check(settings, LINES_BIND, found.lines, known_by_certificate, "set METRONOME_LISTEN_TLS_CLIENT_CA")
    _check(settings, LINES_UDP_BIND, found.lines_udp, False, "listen on 127.0.0.1")
    return found


def _address(bind: str) -> Address | None:
    if not bind:
        return None
    host, _, port = bind.rpartition(":")
    return Address(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 - `_check` says whether that may be


def _check(settings: Settings, variable: str, address: Address | None, known: bool, advice: str) -> None:
    """Check that senders show a key or a certificate, or are on this machine, or that METRONOME_OPEN lets all in."""
    if address is None or known or settings.open == "yes" or (settings.open == "" and is_loopback(address.host)):
        return
    where = f"{address.host}:{address.port}"
    raise SetupError(f"{variable}: everybody could send to {where}; {advice}, or METRONOME_OPEN=yes if that is meant")


def _tls(settings: Settings) -> ssl.SSLContext | None:
    certificate, key, client_ca = settings.listen_tls_cert, settings.listen_tls_key, settings.listen_tls_client_ca
    if not (certificate or key or client_ca):
        return None
    if not (certificate and key):
        raise SetupError("TLS needs both METRONOME_LISTEN_TLS_CERT and METRONOME_LISTEN_TLS_KEY")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise SetupError(f"METRONOME_LISTEN_TLS_CERT and _KEY: they can't be used ({error})") from None
    if client_ca:
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise SetupError(f"METRONOME_LISTEN_TLS_CLIENT_CA: it can't be used ({error})") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context
