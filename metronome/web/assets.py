"""Files that the gateway serves to browsers: read once, packed once, told apart by their contents."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping

from flask import Response, request


class Asset:
    """One file, as it is and gzipped, with an ETag each. `headers` go beside those that every file has."""

    def __init__(self, content: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        self._content = content
        self._packed = gzip.compress(content, mtime=0)
        self._type = media_type
        self._etag = hashlib.blake2b(content, digest_size=12).hexdigest()
        self._headers = {
            "X-Content-Type-Options": "nosniff",
            # The address stays the same from version to version: an hour, then the ETag is asked for.
            "Cache-Control": "public, max-age=3600",
            "Vary": "Accept-Encoding",
            **(headers or {}),
        }

    def answer(self) -> Response:
        """The file for the present request: 200, or 304 where the client has it."""
        packed = request.accept_encodings.quality("gzip") > 0
        response = Response(self._packed if packed else self._content, content_type=f"{self._type}; charset=utf-8")
        response.headers.update(self._headers)
        if packed:
            response.headers["Content-Encoding"] = "gzip"
        response.set_etag(f"{self._etag}-gzip" if packed else self._etag)
        response.make_conditional(request)
        return response
