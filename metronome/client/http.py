"""HTTP to a gateway: where it is and who asks, one request, and what its answer means."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener, urlopen

from metronome.errors import Refused, StoreUnavailable
from metronome.kinds import is_loopback

TIMEOUT_S = 60

#: Opens addresses of this machine. A proxy that `http_proxy` names would take them for addresses of its own.
_direct = build_opener(ProxyHandler({})).open

_OPTIONS = ("url", "key", "host", "port", "scheme", "username", "password")

#: What the commands' users can do where nothing answers.
_HINT = "; set METRONOME_URL"


class Reply(NamedTuple):
    """What a gateway, or something before it, answered. `wait_s` is its Retry-After."""

    status: int
    body: bytes
    wait_s: int | None = None

    @property
    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def message(self) -> str:
        """The words of the project's one error body, else the status."""
        try:
            return str(self.json["error"]["message"])
        except (KeyError, TypeError):
            return f"HTTP {self.status}"


@dataclass(frozen=True)
class Target:
    """A gateway: its address without a slash at the end, and the header that says who asks."""

    url: str
    headers: Mapping[str, str]
    timeout_s: float = TIMEOUT_S

    @classmethod
    def of(cls, options: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> Target:
        """`url`, or `host`, `port`, `scheme`; `key`, or `username`, `password`. Raises TypeError or ValueError."""
        for name in options:
            if name not in _OPTIONS:
                raise TypeError(f"{name!r} isn't an option of a gateway; there are {', '.join(_OPTIONS)}")
        url = str(options.get("url") or "") or _url(options)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} isn't the address of a gateway, such as http://127.0.0.1:8000")
        return cls(url.rstrip("/"), _bearer(options.get("key") or "") or _basic(options), timeout_s)

    def get(self, path: str, query: Mapping[str, str | None]) -> Any:
        """The JSON of an answer. Parameters that are None are left out. Raises Refused or StoreUnavailable."""
        asked = urlencode({name: value for name, value in query.items() if value is not None})
        request = Request(f"{self.url}{path}{'?' if asked else ''}{asked}", headers=dict(self.headers))  # noqa: S310
        return _answer(request, timeout_s=self.timeout_s)

    def send(self, path: str, body: bytes, content_type: str = "application/json") -> Reply:
        """Post a body, and give whatever is answered; raises StoreUnavailable if nothing is."""
        return send(_posting(self.url + path, body, content_type, self.headers), self.timeout_s)


def _url(options: Mapping[str, Any]) -> str:
    host = str(options.get("host") or "127.0.0.1")
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{options.get('scheme') or 'http'}://{host}:{options.get('port') or 8000}"


def _basic(options: Mapping[str, Any]) -> dict[str, str]:
    if not options.get("password"):
        return {}
    pair = f"{options.get('username') or ''}:{options['password']}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def post(url: str, body: bytes, content_type: str = "application/json", *, key: str = "") -> dict[str, Any]:
    """Post a body, compressed, and give the answer; raises Refused with the gateway's words, or StoreUnavailable.

    A 422 is an answer too: its receipt says what was refused.
    """
    answer: dict[str, Any] = _answer(_posting(url, body, content_type, _bearer(key)), expected=422, hint=_HINT)
    return answer


def post_for_text(url: str, body: bytes, *, key: str = "") -> str:
    """Post JSON, and give the text that is answered; raises as `post` does."""
    request = _posting(url, body, "application/json", _bearer(key))
    reply = send(request, TIMEOUT_S)
    if reply.status >= 300:
        raise _refusal(request, reply)
    return reply.body.decode()


def get(url: str, query: dict[str, str], *, key: str = "") -> dict[str, Any]:
    """Get JSON; raises as `post` does."""
    asked = f"{url}?{urlencode(query)}" if query else url
    answer: dict[str, Any] = _answer(Request(asked, headers=_bearer(key)), hint=_HINT)  # noqa: S310
    return answer


def _posting(url: str, body: bytes, content_type: str, headers: Mapping[str, str]) -> Request:
    described = {"Content-Type": content_type, "Content-Encoding": "gzip", "User-Agent": "metronome", **headers}
    return Request(url, gzip.compress(body, 1), described, method="POST")  # noqa: S310 - the user's own URL


def send(request: Request, timeout_s: float, hint: str = "") -> Reply:
    """Send a request, and give whatever is answered; raises StoreUnavailable if nothing is."""
    is_here = is_loopback(urlsplit(request.full_url).hostname or "")
    try:
        try:
            with (_direct if is_here else urlopen)(request, timeout=timeout_s) as response:
                return Reply(response.status, response.read())
        except HTTPError as error:
            with error:
                wait = error.headers.get("Retry-After") or ""
                return Reply(error.code, error.read(), int(wait) if wait.isdecimal() else None)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise StoreUnavailable(f"no gateway answers at {request.full_url} ({reason}){hint}") from None


def _answer(request: Request, *, expected: int | None = None, timeout_s: float = TIMEOUT_S, hint: str = "") -> Any:
    reply = send(request, timeout_s, hint)
    if reply.status < 300 and reply.json is not None:
        return reply.json
    if reply.status == expected and "rejected" in (reply.json or ()):
        return reply.json
    raise _refusal(request, reply)


def _refusal(request: Request, reply: Reply) -> Refused | StoreUnavailable:
    if reply.status in (429, 502, 503, 504):  # 502 and 504: from a proxy before the gateway
        return StoreUnavailable(reply.message, retry_after_s=5 if reply.wait_s is None else reply.wait_s)
    return Refused(f"{request.full_url} answered {reply.status}: {reply.message}")


def is_ready(bind: str) -> bool:
    """Whether `GET /readyz` answers 200."""
    with contextlib.suppress(URLError, OSError), _direct(f"{url_of(bind)}/readyz", timeout=5) as response:
        return bool(response.status == 200)
    return False


def url_of(bind: str) -> str:
    """The address at which this machine reaches what is bound to `bind`."""
    host, _, port = bind.rpartition(":")
    return f"http://{'127.0.0.1' if host in ('', '0.0.0.0', '[::]') else host}:{port}"  # noqa: S104
