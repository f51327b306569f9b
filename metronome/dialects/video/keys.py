"""The keys that players join with: `/api/v1/keys`. They are the gateway's own keys, of the scope `video`."""

from __future__ import annotations

import base64
import os
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from metronome.dialects import Doors
from metronome.dialects.video.access import Access
from metronome.dialects.video.read import has_body, json_object
from metronome.errors import BadQuestion, Conflict, NotFound
from metronome.keys import Key, split
from metronome.periods import to_text
from metronome.wire.request import body, json_answer

MAX_LENGTH = 200

_NOT_CREATED = ({"error": "Could not create key"}, 400)
_NOT_REVOKED = ({"error": "Could not revoke key"}, 400)


class KeyConverter(BaseConverter):
    """The text of a key, which holds slashes: `%2F` is decoded before a route is looked for."""

    regex = ".+"
    part_isolating = False


def add(routes: Blueprint, access: Access, doors: Doors) -> None:
    """The three routes."""
    keys = doors.keyring.keys

    def create() -> Response:
        try:
            text = _wanted(json_object(body(request, doors.settings)) if has_body(request) else {})
            doors.keyring.prepare()
            _, token = keys.create("video", scopes=("video",), publishable=True, origins=("*",), text=text)
        except (BadQuestion, Conflict):
            return json_answer(*_NOT_CREATED)
        # The players' process reads what the workers know.
        doors.keyring.refresh()
        return json_answer({"key": token}, 201)

    def listed() -> Response:
        return json_answer({"keys": [_shown(key) for key in keys.all() if key.is_for_players and key.publishable]})

    def revoke(key: str) -> Response:
        try:
            found = keys.get(split(key)[0])
        except NotFound:
            return json_answer(*_NOT_REVOKED)
        # The key of a shipper isn't revoked by whoever may only manage videos.
        if not found.is_for_players or found.token != key:
            return json_answer(*_NOT_REVOKED)
        keys.revoke(found.id)
        doors.keyring.refresh()
        return json_answer({"message": "Key revoked"})

    access.add("/api/v1/keys", create, "admin", ["POST"])
    access.add("/api/v1/keys", listed, "admin", ["GET"])
    access.add("/api/v1/keys/<playerkey:key>", revoke, "admin", ["DELETE"])


def _wanted(given: dict[str, Any]) -> str:
    """The text of the key to be; raises BadQuestion."""
    text = given.get("key")
    if text is None:
        return base64.b64encode(os.urandom(16)).decode()
    # The form of the gateway's own keys would name another key's id.
    if not isinstance(text, str) or not 0 < len(text) <= MAX_LENGTH or text.startswith("mt_") or not text.strip():
        raise BadQuestion("key: a text of up to 200 characters that doesn't begin with mt_", field="key")
    return text


def _shown(key: Key) -> dict[str, Any]:
    return {"disabled_at": None if key.revoked_at is None else to_text(key.revoked_at), "key": key.token}
