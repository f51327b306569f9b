"""Checks the name under which a request reaches the gateway, as a defence against DNS rebinding.

Somebody whose machine runs a gateway opens the page of a stranger's site. The stranger then lets the site's name mean
127.0.0.1. The browser takes the gateway for a part of that site, and lets the page read all that it answers. But the
requests still carry the site's name as their Host.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from flask import Flask, request

from metronome.errors import Misdirected
from metronome.kinds import is_address, is_loopback
from metronome.settings import Settings


def guard(app: Flask, settings: Settings) -> None:
    """Refuse requests for names that aren't the gateway's."""
    check = host_check(settings)

    @app.before_request
    def check_host() -> None:
        check(request.headers.get("Host", ""))


def host_check(settings: Settings) -> Callable[[str], None]:
    """A check of a request's Host, which raises Misdirected.

    The names are localhost, METRONOME_BIND's and those of METRONOME_HOSTS.

    Bound to another address than loopback, and without METRONOME_HOSTS, the gateway can't know its names: any is taken.
    """
    bound = settings.bind.rpartition(":")[0].lower()
    names = {bound, *settings.hosts}
    private = is_loopback(bound)
    if not private and not settings.hosts:
        return lambda given: None

    @lru_cache(maxsize=1024)
    def is_ours(host: str) -> bool:
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        # An IP address as Host is accepted. DNS rebinding needs a name; load balancers and probes send addresses.
        return is_loopback(name) or name.removesuffix(".") in names or (not private and is_address(name))

    def check(given: str) -> None:
        # HTTP/1.0 has no such header; browsers don't speak it.
        host = given[:300]
        if host and not is_ours(host.lower()):
            raise Misdirected(
                f"Host: {host[:100]!r} isn't a name of this gateway; add it to METRONOME_HOSTS if it is meant to be one"
            )

    return check
