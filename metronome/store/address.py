"""Where an Elasticsearch answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Address:
    """Where a node answers, and to whom."""

    url: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Address(url={self.url!r}, username={self.username!r}, password='…')"
