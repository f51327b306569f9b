"""Receipts: what was found where and how that was verified, signed with Ed25519 by the key of this installation.

    METRONOME_HOME/receipts.key     32 bytes as hex; copy it to other hosts that are to verify

The signature is over the receipt's JSON without `signature`, with sorted names and no blanks. `public_key` in it lets
anybody check that it wasn't changed; that it is ours, only who knows our key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from metronome.errors import BadPayload, SetupError

NAME = "receipts.key"


def _signer(home: Path) -> Ed25519PrivateKey:
    path = home / NAME
    try:
        with suppress(FileExistsError):
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            raw = Ed25519PrivateKey.generate().private_bytes_raw()
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(raw.hex())
                file.flush()
                os.fsync(file.fileno())
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text()))
    except (OSError, ValueError) as error:
        raise SetupError(f"METRONOME_HOME: {path} can't be used as the key of receipts", detail=str(error)) from error


def public_key(home: Path) -> str:
    """The key that this installation's receipts are checked with, as hex."""
    return _signer(home).public_key().public_bytes_raw().hex()


def signed(receipt: Mapping[str, Any], home: Path) -> dict[str, Any]:
    """The receipt with `public_key` and `signature`."""
    signer = _signer(home)
    whole = {**receipt, "public_key": signer.public_key().public_bytes_raw().hex()}
    return {**whole, "signature": signer.sign(_bytes(whole)).hex()}


def _bytes(receipt: Mapping[str, Any]) -> bytes:
    return json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read(text: str | bytes) -> dict[str, Any]:
    """A receipt from a file; raises BadPayload."""
    try:
        found = json.loads(text)
        if isinstance(found, dict) and {"receipt", "public_key", "signature"} <= found.keys():
            return found
    except ValueError:
        pass
    raise BadPayload("this isn't a receipt: it has to be the JSON that `metronome person erase` printed")


def problem_of(receipt: Mapping[str, Any], key: str) -> str:
    """Why the receipt isn't one of who has the key; empty where it is."""
    if receipt["public_key"] != key:
        return "it was signed with another key than that of this installation"
    content = {name: value for name, value in receipt.items() if name != "signature"}
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
            bytes.fromhex(receipt["signature"]), _bytes(content)
        )
    except (InvalidSignature, ValueError):
        return "it isn't what was signed"
    return ""
