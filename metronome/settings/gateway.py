"""Where the gateway is found, where its files are, and who may do what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metronome import kinds
from metronome.kinds import Network, choice
from metronome.settings.row import setting, xdg


@dataclass(frozen=True)
class Gateway:
    """Where the gateway is found, where its files are, and who may do what."""

    bind: str = setting("METRONOME_BIND", kinds.BIND, "127.0.0.1:8000", "Address and port where HTTP is served.")
    hosts: tuple[str, ...] = setting(
        "METRONOME_HOSTS",
        kinds.HOSTS,
        (),
        "Names under which the gateway is reached, beside localhost; a request for another host gets 421. Empty: any "
        "name where METRONOME_BIND isn't a loopback address, only localhost where it is.",
        shown="(empty)",
    )
    home: Path = setting(
        "METRONOME_HOME",
        kinds.FOLDER,
        lambda: xdg("XDG_DATA_HOME", ".local/share"),
        "Folder of this installation: spool, quarantine, metrics and the private Elasticsearch's data.",
        shown="~/.local/share/metronome",
    )
    cache: Path = setting(
        "METRONOME_CACHE",
        kinds.FOLDER,
        lambda: xdg("XDG_CACHE_HOME", ".cache"),
        "Folder of downloads, shared by all installations of a user. Safe to delete.",
        shown="~/.cache/metronome",
    )
    url: str = setting(
        "METRONOME_URL",
        kinds.URL,
        "http://127.0.0.1:8000",
        "Where the commands tick, tock, load and demo find the gateway.",
    )
    key: str = setting(
        "METRONOME_KEY", kinds.TEXT, "", "API key that the commands tick, tock, load and demo send.", secret=True
    )
    open: str = setting(
        "METRONOME_OPEN",
        choice("yes", "no"),
        "",
        "yes: everybody is served. no: only who has a key. Empty: everybody, while it listens on this machine alone "
        "and no key was ever made; else only who has a key.",
    )
    trusted_proxies: tuple[Network, ...] = setting(
        "METRONOME_TRUSTED_PROXIES",
        kinds.NETWORKS,
        (),
        "Your proxies: X-Forwarded-For is believed if it comes from one of them, and from nobody else.",
        shown="(empty)",
    )
    log_level: str = setting(
        "METRONOME_LOG_LEVEL", choice("debug", "info", "warning", "error"), "info", "Least severe log line written."
    )
