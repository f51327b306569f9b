"""API keys: `mt_<env>_<id>_<secret>`, shown once, kept as records.

    id        12 hexadecimal digits: looked up, shown in lists and logs
    secret    32 random bytes, URL-safe; only their SHA-256 is stored, which is safe for a secret of so much entropy

A publishable key stands in a page that everybody can read, so it isn't secret. It may only write, and only from its
origins, and its text is stored unchanged.

`Keys` makes, lists, rotates and revokes keys; that needs Elasticsearch. `keyring.py` checks a key on every request.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from metronome.errors import BadQuestion, Conflict
from metronome.kinds import RATE, Network
from metronome.periods import read_time, to_text
from metronome.store.records import Record, Records

#: Each scope with the scopes that it grants. A higher scope includes the lower ones. `video` is for players: it joins
#: their sockets, as `write` does too, and does nothing else.
GRANTS: dict[str, frozenset[str]] = {
    "write": frozenset({"write"}),
    "read": frozenset({"read"}),
    "edit": frozenset({"edit", "read", "write"}),
    "admin": frozenset({"admin", "edit", "read", "write"}),
    "video": frozenset({"video"}),
}

ALL = GRANTS["admin"]

#: How often an owner's change of a key is tried. It may conflict with other hosts, which write the key's last use.
TRIES = 5

_ENV = re.compile(r"[a-z0-9]{1,16}")

#: Scheme, host and port. Browsers send a host of other letters as `xn--…`.
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?/?")

#: Ports that an origin doesn't name.
_PORTS = {"http": ":80", "https": ":443"}

_UNITS_S = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class Key:
    """One key. Times are aware, in UTC; hashes are hexadecimal SHA-256 of the secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    env: str = "live"
    app: str = ""
    origins: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    rate: str = ""
    publishable: bool = False
    #: The whole key if it is publishable, else empty.
    token: str = ""
    hash: str = ""
    previous_hash: str = ""
    previous_until: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    used_at: datetime | None = None

    def has_secret(self, digest: str, now: datetime) -> bool:
        """Whether the secret of this digest is valid. The secret before a rotation is valid until its overlap ends."""
        current = hmac.compare_digest(digest, self.hash)
        previous = hmac.compare_digest(digest, self.previous_hash or self.hash)
        return current or (previous and self.previous_until is not None and now < self.previous_until)

    def state(self, now: datetime) -> str:
        """`valid`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "valid"

    @cached_property
    def parsed_networks(self) -> tuple[Network, ...]:
        return tuple(map(ipaddress.ip_network, self.networks))

    @cached_property
    def grants(self) -> frozenset[str]:
        """The scopes that the key grants, including those within its own."""
        return frozenset().union(*(GRANTS[scope] for scope in self.scopes))

    @property
    def is_for_players(self) -> bool:
        """Whether it joins video sockets and does nothing else."""
        return self.scopes == ("video",)

    def line(self, now: datetime) -> str:
        """One line of a list for people."""
        facts = {
            "app": self.app,
            "origins": ",".join(self.origins),
            "networks": ",".join(self.networks),
            "rate": self.rate,
            "expires": self.expires_at and to_text(self.expires_at),
            "used": self.used_at and to_text(self.used_at),
            "key": self.token,
        }
        shown = "".join(f"  {name}={value}" for name, value in facts.items() if value)
        return f"{self.id}  {self.state(now):7}  {','.join(self.scopes)}  {self.name}{shown}"

    def as_dict(self) -> dict[str, Any]:
        """What may be shown: no hashes; the token only of a publishable key."""
        return {name: value for name, value in to_value(self).items() if name not in ("hash", "previous_hash")} | {
            "id": self.id
        }


_NAMES = frozenset(field.name for field in fields(Key))
_TIMES = frozenset(field.name for field in fields(Key) if "datetime" in str(field.type))
_LISTS = frozenset(field.name for field in fields(Key) if "tuple" in str(field.type))


def to_value(key: Key) -> dict[str, Any]:
    """The record's value, without empty fields."""
    value: dict[str, Any] = {}
    for field in fields(Key):
        given = getattr(key, field.name)
        if field.name != "id" and given not in ("", None, (), False):
            value[field.name] = to_text(given) if field.name in _TIMES else given
    return value


def from_record(record: Record) -> Key:
    """The key of a record. Fields that a newer version of Metronome has added are ignored."""
    value: dict[str, Any] = {"id": record.id}
    for name in _NAMES & record.value.keys():
        given = record.value[name]
        value[name] = read_time(given) if name in _TIMES else tuple(given) if name in _LISTS else given
    return Key(**value)


def split(token: str) -> tuple[str, str]:
    """(id, secret) of a key's text.

    Text in another form is a key that its owner chose (video players bring such keys). Its id is made from the text.
    """
    parts = token.split("_", 3)
    if len(parts) == 4 and parts[0] == "mt":
        return parts[2], parts[3]
    return "t" + digest_of(token)[:23], token


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


class Keys:
    """Make, list, rotate and revoke keys. Every method may raise what Records raises."""

    def __init__(self, records: Records, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._records = records
        self._clock = clock

    def create(
        self,
        name: str,
        *,
        scopes: Collection[str] = ("write",),
        env: str = "live",
        app: str = "",
        origins: Iterable[str] = (),
        networks: Iterable[str] = (),
        rate: str = "",
        expires_at: datetime | None = None,
        publishable: bool = False,
        text: str = "",
    ) -> tuple[Key, str]:
        """A new key and its text, which can't be shown again unless the key is publishable.

        `text` is for a publishable key whose owner chose its text. Raises BadQuestion that names what is wrong, and
        Conflict where a key of this text exists.
        """
        now = self._clock()
        if expires_at is not None and expires_at <= now:
            raise BadQuestion(f"expires: {to_text(expires_at)} is past; name a time to come", field="expires")
        key = Key(
            id="",
            name=name,
            scopes=_scopes(scopes),
            created_at=now,
            env=env,
            app=app,
            origins=tuple(map(_origin, origins)),
            networks=tuple(map(_network, networks)),
            rate=_rate(rate),
            expires_at=expires_at,
            publishable=publishable,
        )
        _check(key)
        token = text or _token(env, secrets.token_hex(6))
        key_id, secret = split(token)
        key = replace(key, id=key_id, hash=digest_of(secret), token=token if publishable else "")
        self._records.create(key_id, to_value(key))
        return key, token

    def all(self) -> list[Key]:
        """All keys, revoked ones too, the oldest first."""
        return sorted(map(from_record, self._records.list()), key=lambda key: (key.created_at, key.id))

    def get(self, key_id: str) -> Key:
        """Raises NotFound."""
        return from_record(self._records.get(key_id))

    def rotate(self, key_id: str, overlap: timedelta = timedelta(hours=24)) -> tuple[Key, str]:
        """A new secret for the key; the one before it is valid for `overlap` longer. Raises NotFound or BadQuestion."""
        now = self._clock()

        def changed(key: Key) -> Key:
            if key.state(now) != "valid":
                raise BadQuestion(f"key {key_id} is {key.state(now)}; make a new one: metronome keys create")
            return replace(
                key,
                hash=digest_of(split(token)[1]),
                token=token if key.publishable else "",
                previous_hash=key.hash,
                previous_until=now + overlap,
            )

        token = _token(self.get(key_id).env, key_id)
        return self._change(key_id, changed), token

    def revoke(self, key_id: str) -> Key:
        """Refuse the key everywhere from now on. Revoking it again changes nothing. Raises NotFound."""
        now = self._clock()
        return self._change(key_id, lambda key: key if key.revoked_at else replace(key, revoked_at=now))

    def note_use(self, record: Record, used_at: datetime) -> None:
        """Store the time of the last use; raises Conflict if somebody else has changed the key since it was read."""
        self._records.replace(record, {**record.value, "used_at": to_text(used_at)})

    def _change(self, key_id: str, changed: Callable[[Key], Key]) -> Key:
        for turn in range(TRIES):
            record = self._records.get(key_id)
            key = changed(from_record(record))
            try:
                self._records.replace(record, to_value(key))
            except Conflict:
                if turn == TRIES - 1:
                    raise
            else:
                break
        return key


def _token(env: str, key_id: str) -> str:
    return f"mt_{env}_{key_id}_{secrets.token_urlsafe(32)}"


def _scopes(given: Collection[str]) -> tuple[str, ...]:
    for scope in given:
        if scope not in GRANTS:
            raise BadQuestion(f"scopes: {scope[:40]!r} isn't one; there are {', '.join(GRANTS)}", field="scopes")
    return tuple(scope for scope in GRANTS if scope in given)


def _check(key: Key) -> None:
    if not _ENV.fullmatch(key.env):
        raise BadQuestion(f"env: {key.env[:40]!r} isn't a name of 1 to 16 letters a-z and digits", field="env")
    if not key.scopes:
        raise BadQuestion(f"scopes: a key has at least one of {', '.join(GRANTS)}", field="scopes")
    if key.publishable and not {"write", "video"}.issuperset(key.scopes):
        raise BadQuestion("scopes: everybody can read a publishable key, so it may only write", field="scopes")
    if key.publishable and not key.origins:
        raise BadQuestion(
            "origins: a publishable key names the sites it is for, such as https://www.example.org; * is any",
            field="origins",
        )


def _origin(given: str) -> str:
    """`https://Example.org:443/` as a browser sends it: `https://example.org`."""
    if given.strip() == "*":
        return "*"
    found = _ORIGIN.fullmatch(given.strip().lower())
    if not found:
        raise BadQuestion(f"origins: {given[:80]!r} isn't an origin, such as https://www.example.org", field="origins")
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" + ("" if port == _PORTS.get(scheme) else port or "")


def _network(given: str) -> str:
    try:
        return str(ipaddress.ip_network(given.strip(), strict=False))
    except ValueError:
        raise BadQuestion(
            f"networks: {given[:60]!r} isn't a network or address, such as 192.0.2.0/24", field="networks"
        ) from None


def _rate(text: str) -> str:
    try:
        return str(RATE.read(text)) if text else ""
    except ValueError:
        raise BadQuestion(f"rate: {text[:40]!r} isn't {RATE.takes}", field="rate") from None


def read_span(text: str) -> timedelta:
    """`30m`, `24h`, `90d`, `2w`, or `0`; raises BadQuestion."""
    found = re.fullmatch(r"(\d{1,6})([mhdw])|0", text.strip())
    if not found:
        raise BadQuestion(f"{text[:40]!r} isn't a span of time, such as 30m, 24h, 90d or 2w")
    return timedelta(seconds=int(found[1]) * _UNITS_S[found[2]]) if found[1] else timedelta()
