"""Connection options, as programs of the analytics example have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Options of the original's store. They mean nothing to a gateway.
_FOREIGN = ("app", "owner", "sharing", "version")


def of_gateway(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those that mean nothing here. Any other name that isn't known is refused later."""
    return {name: value for name, value in options.items() if name not in _FOREIGN}
