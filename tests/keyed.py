"""A gateway that asks for keys: for the tests of what keys may do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from conftest import Gateway

from metronome.keyring import Keyring
from metronome.keys import Key, Keys
from metronome.store import indices
from metronome.store.records import Records


class Kept:
    """A gateway that asks for keys, and the keys in its Elasticsearch."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        indices.install(gateway.elasticsearch, gateway.settings)
        records = Records(gateway.elasticsearch, gateway.settings, "keys")
        self.keys = Keys(records)
        #: Makes keys as they were made in 2025, so that one of them may have expired.
        self.keys_of_2025 = Keys(records, clock=lambda: datetime(2025, 1, 1, tzinfo=UTC))
        self.keyring: Keyring = gateway.app.extensions["keyring"]

    def make(self, **wanted: Any) -> tuple[Key, str]:
        keys = self.keys_of_2025 if "expires_at" in wanted else self.keys
        key, token = keys.create("test", **wanted)
        self.keyring.refresh()
        return key, token

    def post(self, token: str | None = None, event: Any = None, **options: Any) -> Any:
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **options.pop("headers", {})}
        return self.gateway.tick({"id": "home"} if event is None else event, headers=headers, **options)

    def ask(self, token: str | None = None, path: str = "/tock/home.json", **options: Any) -> Any:
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **options.pop("headers", {})}
        return self.gateway.http.get(path, headers=headers, **options)
