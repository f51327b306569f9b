"""One process's copy of all keys. It checks a key on every request without asking Elasticsearch.

A thread asks Elasticsearch every REFRESH_S whether any key has changed. So every worker of every host refuses a revoked
key within 5 s. While Elasticsearch is away, the keys that were known last stay valid, even after a restart, since
METRONOME_HOME/keys.json holds them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from elasticsearch import Elasticsearch

from metronome.errors import BadKey, Conflict, MetronomeError, StoreUnavailable
from metronome.keys import Key, Keys, digest_of, from_record, split
from metronome.logs import Sparing
from metronome.periods import read_time
from metronome.settings import Settings
from metronome.store import indices
from metronome.store.names import record_index
from metronome.store.records import Mirror, Record, Records, read_copy
from metronome.video import sample

log = logging.getLogger("metronome.keys")

REFRESH_S = 1.5

#: Precision of a key's last use: how often it is checked, and how old the stored time must be to be written again.
USES_EVERY_S = 60
USE_IS_OLD = timedelta(minutes=5)

#: Stands for an unknown key. So a look-up takes the same time whether or not the key exists.
_NOBODY = Key(id="", name="", scopes=(), created_at=datetime(1970, 1, 1, tzinfo=UTC), hash=digest_of(""))


class Keyring:
    """Safe to use from all threads of a process: `find` reads one dictionary, which a refresh replaces whole."""

    def __init__(
        self,
        settings: Settings,
        client: Elasticsearch,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._settings = settings
        self._records = Records(client, settings, "keys")
        self._mirror = Mirror(self._records, settings.home / "keys.json")
        self._clock = clock
        self._sparing = Sparing(every_s=60)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._used: dict[str, datetime] = {}
        self._keys: dict[str, Key] = {}
        self._take()

    @property
    def known(self) -> bool:
        """Whether the keys have been read, from Elasticsearch or from the file."""
        return self._mirror.known

    @property
    def has_keys(self) -> bool:
        """Whether a key was ever made, even if it was revoked or has expired since.

        Keys of video players don't count. They open no door but theirs, and a fresh installation has one.
        """
        return any(not key.is_for_players for key in self._keys.values())

    @property
    def keys(self) -> Keys:
        """The keys in Elasticsearch, to make and revoke some. `refresh` makes the change known here."""
        return Keys(self._records, self._clock)

    def find(self, token: str) -> Key:
        """The valid key of this text; raises BadKey, or StoreUnavailable while the keys haven't been read yet."""
        now = self._clock()
        key = _valid(self._keys, token, now, known=self.known)
        self._used[key.id] = now
        return key

    def prepare(self) -> None:
        """Before the first key is made: put the templates, without which its index would have other fields."""
        if self._records.marker(timeout_s=2) is None:
            indices.install(self._client, self._settings)

    def refresh(self) -> None:
        """Look for changes once; raises what Records raises."""
        if self._mirror.refresh():
            self._take()

    def _take(self) -> None:
        self._keys = {row.id: from_record(row) for row in self._mirror.rows}

    def start(self) -> None:
        """Read the keys now, and keep them fresh in a thread until `stop`."""
        self._turn(self.refresh)
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        last_uses = time.monotonic()
        while not self._stopping.wait(REFRESH_S):
            self._turn(self.refresh)
            if time.monotonic() - last_uses > USES_EVERY_S:
                self._turn(self.write_uses)
                last_uses = time.monotonic()

    def _turn(self, work: Callable[[], Any]) -> None:
        """One turn of the thread. No error may end the thread, so every error is logged here."""
        try:
            work()
        except MetronomeError as error:
            if (unsaid := self._sparing.turn(str(error))) is not None:
                log.warning("keys can't be read", extra={"problem": str(error), "unsaid": unsaid})
        except Exception:
            log.exception("keys can't be read")

    def write_uses(self) -> None:
        """Store when keys were used last, if the stored time is old."""
        used, self._used = self._used, {}
        keys = Keys(self._records)
        for record in self._mirror.rows:
            if record.id in used and _is_old(record, used[record.id]):
                try:
                    keys.note_use(record, used[record.id])
                except Conflict:
                    continue  # another worker has just done so, or its owner has changed the key
        self.refresh()


def make_sample(client: Elasticsearch, settings: Settings) -> bool:
    """Make the sample key for videos, if no key was ever made here; returns whether it did.

    Source: video contract, promise 1. Once it is revoked it stays so, since its record stays.
    """
    keys = Keys(Records(client, settings, "keys"))
    if keys.all():
        return False
    try:
        keys.create(sample.NAME, scopes=("video",), publishable=True, origins=("*",), text=sample.KEY)
    except Conflict:  # another process has just done so
        return False
    return True


class KeyFile:
    """The keys as the workers of this host know them, for a process that doesn't ask Elasticsearch.

    The workers replace METRONOME_HOME/keys.json whenever a key changes. Each `find` looks whether they have.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = settings.home / "keys.json"
        self._index = record_index(settings, "keys")
        self._clock = clock
        self._seen: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}
        self._known = False

    def find(self, token: str) -> Key:
        """As `Keyring.find`."""
        self._read()
        return _valid(self._keys, token, self._clock(), known=self._known)

    def _read(self) -> None:
        try:
            found = self._path.stat()
        except OSError:
            return
        # A file that is replaced is another one, even if that happens twice within a tick of the clock.
        seen = (found.st_mtime_ns, found.st_ino)
        if seen == self._seen:
            return
        rows = read_copy(self._path, self._index)
        if rows is not None:
            self._keys, self._known = {row.id: from_record(row) for row in rows}, True
        self._seen = seen


def _valid(keys: Mapping[str, Key], token: str, now: datetime, *, known: bool) -> Key:
    key_id, secret = split(token)
    key = keys.get(key_id, _NOBODY)
    if not key.has_secret(digest_of(secret), now) or key is _NOBODY:
        if not known:
            raise StoreUnavailable(
                "this gateway hasn't reached Elasticsearch since it was set up, so it doesn't know the keys yet"
            )
        raise BadKey("this key isn't known here; check that it was copied whole")
    state = key.state(now)
    if state != "valid":
        raise BadKey(f"key {key.id} is {state}; ask whoever runs this gateway for another")
    return key


def _is_old(record: Record, used_at: datetime) -> bool:
    kept = record.value.get("used_at")
    return kept is None or used_at - read_time(kept) > USE_IS_OLD
