"""HTTP to a gateway, with the standard library alone: what the commands use, and the ground of the Python client."""

from __future__ import annotations

import contextlib
import gzip
import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener, urlopen

from metronome.errors import Refused, StoreUnavailable
from metronome.kinds import is_loopback

TIMEOUT_S = 60

#: Opens addresses of this machine. A proxy that `http_proxy` names would take them for addresses of its own.
_direct = build_opener(ProxyHandler({})).open


def post(url: str, body: bytes, content_type: str = "application/json", *, key: str = "") -> dict[str, Any]:
    """Post a body, compressed, and give the answer; raises Refused with the gateway's words, or StoreUnavailable.

    A 422 is an answer too: its receipt says what was refused.
    """
    headers = {"Content-Type": content_type, "Content-Encoding": "gzip", "User-Agent": "metronome", **_bearer(key)}
    return _answer(Request(url, gzip.compress(body, 1), headers, method="POST"), expected=422)  # noqa: S310 - the user's own URL


def get(url: str, query: dict[str, str], *, key: str = "") -> dict[str, Any]:
    """Get JSON; raises as `post` does."""
    return _answer(Request(url + ("?" + urlencode(query) if query else ""), headers=_bearer(key)))  # noqa: S310


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _answer(request: Request, expected: int | None = None) -> dict[str, Any]:
    try:
        is_here = is_loopback(urlsplit(request.full_url).hostname or "")
        with (_direct if is_here else urlopen)(request, timeout=TIMEOUT_S) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except HTTPError as error:
        text = error.read()
        try:
            answer = json.loads(text)
            message = answer["error"]["message"]
        except (ValueError, KeyError, TypeError):
            answer, message = {}, f"HTTP {error.code}"
        if error.code == expected and "rejected" in answer:
            return answer
        if error.code in (429, 502, 503, 504):  # 502 and 504: from a proxy before the gateway
            wait = error.headers.get("Retry-After") or ""
            raise StoreUnavailable(message, retry_after_s=int(wait) if wait.isdecimal() else 5) from None
        raise Refused(f"{request.full_url} answered {error.code}: {message}") from None
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        raise StoreUnavailable(
            f"no gateway answers at {request.full_url} ({getattr(error, 'reason', error)}); set METRONOME_URL"
        ) from None


def is_ready(bind: str) -> bool:
    """Whether `GET /readyz` answers 200."""
    with contextlib.suppress(URLError, OSError), _direct(f"{url_of(bind)}/readyz", timeout=5) as response:
        return bool(response.status == 200)
    return False


def url_of(bind: str) -> str:
    """The address at which this machine reaches what is bound to `bind`."""
    host, _, port = bind.rpartition(":")
    return f"http://{'127.0.0.1' if host in ('', '0.0.0.0', '[::]') else host}:{port}"  # noqa: S104
