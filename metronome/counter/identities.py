"""Who it was, as keyed hashes: made before the spool, so no address, agent or user id reaches a disk.

A key is 32 random bytes, one a UTC day, in METRONOME_HOME/counter-keys and nowhere else. The key is that of the day on
which the usage happened. It is deleted when the day after it has ended. Then nobody can say which hash was whose.

A click just after midnight is hashed with the key of the day before as well, since it may be the second click of a
double click (`Hashes.click_before`).

A usage that arrives when its day's key is gone, or of a day that never had one, gets the key of the day of arrival,
with its own day among what is hashed. Usages that arrive together, such as an old access log, are then still those of
one visitor. They can't be connected with what came in time, so they carry the flag `visitor_unlinked`. No key is ever
made for a day that has passed.

Source: semantics, section 12.
"""

from __future__ import annotations

import hmac
import os
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from metronome.counter.keys import session_key
from metronome.errors import SpoolUnavailable
from metronome.spool.files import make_folder

#: Two clicks on a link within this time are one action. Source: COUNTER R5.1, section 7.2.
DOUBLE_CLICK = timedelta(seconds=30)

_DAY = timedelta(days=1)
_KEY_BYTES = 32


@dataclass(frozen=True)
class Visitor:
    """Who it was, as far as known. Nothing of this is stored."""

    user_id: str = ""
    cookie: str = ""
    client_session_id: str = ""
    address: str = ""
    agent: str = ""

    @property
    def user(self) -> tuple[str, ...]:
        """The most reliable sign of who clicks: login, cookie, session, address and agent."""
        for kind in ("user_id", "cookie", "client_session_id"):
            if getattr(self, kind):
                return kind, getattr(self, kind)
        return "address", self.address, self.agent

    def session(self, at: datetime) -> str:
        return session_key(
            client_session_id=self.client_session_id,
            user_id=self.user_id or self.cookie,
            host=self.address,
            user_agent=self.agent,
            at=at,
        )


@dataclass(frozen=True)
class Hashes:
    """What is stored of a visitor.

    session         of the session
    click           of visitor and link: two clicks of one hash, at most 30 s apart, are a double click
    click_before    the same under the key of the day before, where the click came in the first 30 s of a day
    unlinked        the key of its day was gone
    """

    session: str
    click: str
    click_before: str = ""
    unlinked: bool = False


class Identities:
    """The keys of one installation. Safe to use from all threads and processes of a host."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "counter-keys"
        self._lock = threading.Lock()
        #: Keys by day; None for a day that has passed without one, since none is made any more.
        self._known: dict[date, bytes | None] = {}
        self._today: date | None = None

    def hashes(self, visitor: Visitor, link: tuple[str, ...], at: datetime, now: datetime) -> Hashes:
        """Hashes for a click on a link at a time (UTC). Raises SpoolUnavailable where no key can be kept."""
        day = at.date()
        key, unlinked = self._key(day, now.date())
        before = ""
        if at - DOUBLE_CLICK < datetime.combine(day, datetime.min.time(), at.tzinfo) and day > date.min:
            earlier, _ = self._key(day - _DAY, now.date())
            before = _hash(earlier, day - _DAY, "click", *visitor.user, *link)
        return Hashes(
            _hash(key, day, "session", visitor.session(at)),
            _hash(key, day, "click", *visitor.user, *link),
            before,
            unlinked,
        )

    def forget(self, today: date) -> None:
        """Delete the keys of all days before yesterday."""
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                if path.name < f"{today - _DAY}":
                    path.unlink(missing_ok=True)

    def _key(self, day: date, today: date) -> tuple[bytes, bool]:
        """The key for a day, and whether it is another day's."""
        with self._lock:
            if today != self._today:
                self._known.clear()
                self.forget(today)
                self._today = today
            if day not in self._known and day >= today - _DAY:
                self._known[day] = self._read(day) if day < today else self._made(day)
            found = self._known.get(day)
            if found is not None:
                return found, False
            instead = self._known.get(today) or self._made(today)
            self._known[today] = instead
            return instead, True

    def _read(self, day: date) -> bytes | None:
        with suppress(OSError):
            found = (self._folder / f"{day}").read_bytes()
            if len(found) == _KEY_BYTES:
                return found
        return None

    def _made(self, day: date) -> bytes:
        """The key of a day that hasn't passed; the first process that needs it makes it."""
        path = self._folder / f"{day}"
        try:
            found = self._read(day)
            if found is None:
                make_folder(self._folder)
                _put(path)
                found = self._read(day)
        except OSError as error:
            raise SpoolUnavailable(f"METRONOME_HOME: {path} can't be written ({error.strerror})") from error
        if found is None:
            raise SpoolUnavailable(f"METRONOME_HOME: {path} can't be read")
        return found


def _put(path: Path) -> None:
    """Write a key that nobody sees half of. A link doesn't replace the file of who was quicker."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, secrets.token_bytes(_KEY_BYTES))
        os.fsync(file)
    finally:
        os.close(file)
    try:
        # A file of another size was cut by a crash.
        if path.exists() and path.stat().st_size != _KEY_BYTES:
            path.unlink(missing_ok=True)
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _hash(key: bytes, day: date, *parts: str) -> str:
    """32 hexadecimal digits. Each part stands with its length, so no two lists of parts are alike."""
    text = "".join(f"{len(part)}:{part}" for part in (f"{day}", *parts))
    return hmac.digest(key, text.encode(errors="surrogatepass"), "sha256").hex()[:32]
