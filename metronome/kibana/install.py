"""Posts the saved objects to Kibana's import, which replaces those of the same ids."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from metronome.errors import Refused, StoreUnavailable
from metronome.kibana.objects import export
from metronome.kinds import is_loopback
from metronome.settings import Settings

_BOUNDARY = "metronome-saved-objects"
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Kibana:
    """Where Kibana is, and who logs in; `space` is the name in its addresses, empty for the default space."""

    url: str
    username: str = ""
    password: str = ""
    api_key: str = ""
    space: str = ""

    @property
    def address(self) -> str:
        space = f"/s/{quote(self.space, safe='')}" if self.space else ""
        return f"{self.url.rstrip('/')}{space}/api/saved_objects/_import?overwrite=true"

    @property
    def headers(self) -> dict[str, str]:
        # Kibana takes no change without kbn-xsrf, whatever its value is.
        found = {"kbn-xsrf": "metronome", "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        if self.api_key:
            found["Authorization"] = f"ApiKey {self.api_key}"
        elif self.username:
            pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            found["Authorization"] = f"Basic {pair}"
        return found


def install(kibana: Kibana, settings: Settings) -> int:
    """Import the objects; gives how many. Raises Refused with Kibana's reason, or StoreUnavailable."""
    if urlsplit(kibana.url).scheme not in ("http", "https"):
        raise Refused(f"--url: {kibana.url!r} isn't Kibana's address, such as http://127.0.0.1:5601")
    request = Request(kibana.address, _body(export(settings)), kibana.headers, method="POST")  # noqa: S310 - checked
    try:
        is_here = is_loopback(urlsplit(kibana.url).hostname or "")
        opener = build_opener(ProxyHandler({})) if is_here else build_opener()
        with opener.open(request, timeout=_TIMEOUT_S) as response:
            answer = json.load(response)
    except HTTPError as error:
        raise Refused(f"{kibana.url} answered {error.code}: {_reason(error)}") from None
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        raise StoreUnavailable(f"no Kibana answers at {kibana.url} ({getattr(error, 'reason', error)})") from None
    except ValueError:
        raise Refused(f"what answers at {kibana.url} isn't Kibana") from None
    return _imported(answer)


def _imported(answer: Any) -> int:
    """The number of objects, of `{"success": true, "successCount": 16}`."""
    if not isinstance(answer, dict) or "success" not in answer:
        raise Refused("what answers there isn't Kibana's import")
    if not answer["success"]:
        told = [f"{one.get('type')} {one.get('id')}: {one.get('error')}" for one in answer.get("errors", [])]
        raise Refused(f"Kibana took {answer.get('successCount', 0)} objects, and refused {'; '.join(told)}")
    return int(answer["successCount"])


def _body(text: str) -> bytes:
    disposition = 'Content-Disposition: form-data; name="file"; filename="metronome.ndjson"'
    head = f"{disposition}\r\nContent-Type: application/ndjson"
    return f"--{_BOUNDARY}\r\n{head}\r\n\r\n{text}\r\n--{_BOUNDARY}--\r\n".encode()


def _reason(error: HTTPError) -> str:
    """What Kibana says, and what to do where it is known."""
    try:
        said = str(json.loads(error.read())["message"])[:300]
    except (ValueError, KeyError, TypeError):
        said = error.reason
    if error.code in (401, 403):
        return f"{said}; give --username and a password, or --api-key-file, of a user who may change saved objects"
    return f"{said}; is --url Kibana's address, and --space a space of it?" if error.code == 404 else said
