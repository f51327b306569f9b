"""The ports of shippers: the forward protocol and JSON lines."""

from __future__ import annotations

from dataclasses import dataclass

from metronome import kinds
from metronome.kinds import whole
from metronome.settings.row import setting


@dataclass(frozen=True)
class Listen:
    """The ports of shippers: the forward protocol and JSON lines."""

    forward_bind: str = setting(
        "METRONOME_FORWARD_BIND",
        kinds.BIND,
        "",
        "Where Fluentd's forward protocol is served: TCP, and UDP for heartbeats. Empty: nowhere.",
        shown="(off)",
    )
    forward_shared_key: str = setting(
        "METRONOME_FORWARD_SHARED_KEY",
        kinds.TEXT,
        "",
        "Senders by the forward protocol must know this key.",
        secret=True,
    )
    forward_username: str = setting(
        "METRONOME_FORWARD_USERNAME", kinds.TEXT, "", "Senders must name this user too, beside the shared key."
    )
    forward_password: str = setting("METRONOME_FORWARD_PASSWORD", kinds.TEXT, "", "Password of that user.", secret=True)
    lines_bind: str = setting(
        "METRONOME_LINES_BIND", kinds.BIND, "", "Where JSON lines are taken over TCP. Empty: nowhere.", shown="(off)"
    )
    lines_udp_bind: str = setting(
        "METRONOME_LINES_UDP_BIND",
        kinds.BIND,
        "",
        "Where JSON is taken over UDP, an object a datagram. Empty: nowhere.",
        shown="(off)",
    )
    listen_tls_cert: str = setting(
        "METRONOME_LISTEN_TLS_CERT", kinds.FILE, "", "File with the certificate chain for TLS on these TCP ports."
    )
    listen_tls_key: str = setting(
        "METRONOME_LISTEN_TLS_KEY", kinds.FILE, "", "File with that certificate's private key."
    )
    listen_tls_client_ca: str = setting(
        "METRONOME_LISTEN_TLS_CLIENT_CA",
        kinds.FILE,
        "",
        "File with a CA certificate: senders must show one that it signed.",
    )

    @property
    def listens(self) -> bool:
        """Whether any of the ports is switched on."""
        return bool(self.forward_bind or self.lines_bind or self.lines_udp_bind)

    listen_connections: int = setting(
        "METRONOME_LISTEN_CONNECTIONS",
        whole(1, 100_000),
        3000,
        "Most connections by forward protocol and JSON lines at one time.",
    )
