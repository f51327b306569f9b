"""Browser, platform and device of a user agent, as the video API names them, and whether it is a bot.

The names are those of Matomo's device database, which PyPI `device-detector` ports. It is imported with the first agent
that is classified: its patterns take seconds to load. Source: video contract, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BROWSERS = ("edge", "ie", "chrome", "firefox", "opera", "safari", "brave", "other")
PLATFORMS = ("mac", "ios", "android", "windows", "linux", "other")
DEVICES = ("mobile", "tablet", "desktop", "other")

_BROWSER = {
    **dict.fromkeys(("Chrome", "Chrome Mobile", "Chrome Mobile iOS"), "chrome"),
    **dict.fromkeys(("Firefox", "Firefox Mobile", "Firefox Mobile iOS"), "firefox"),
    **dict.fromkeys(("Safari", "Mobile Safari", "Safari Technology Preview"), "safari"),
    **dict.fromkeys(("Opera", "Opera Mobile"), "opera"),
    **dict.fromkeys(("Edge", "Edge Mobile", "Microsoft Edge"), "edge"),
    **dict.fromkeys(("Internet Explorer", "IE Mobile"), "ie"),
    "Brave": "brave",
}
_PLATFORM = {
    **{name: name.lower() for name in ("Windows", "Mac", "Linux", "iOS", "Android")},
    "GNU/Linux": "linux",
}
#: A device of unknown type that runs one of these is a desktop, as in Matomo's own detector. The port doesn't say it of
#: Chrome on Linux.
_DESKTOPS = frozenset(("Windows", "Mac", "GNU/Linux", "Linux", "Chrome OS"))

_DEVICE = {"smartphone": "mobile", "tablet": "tablet", "desktop": "desktop"}

#: Longer agents are cut. No browser sends one, and classifying costs time per character.
MAX_AGENT = 512


@dataclass(frozen=True)
class Device:
    browser: str = "other"
    platform: str = "other"
    device: str = "other"
    is_bot: bool = False


def classify(agent: str) -> Device:
    """What an agent says. An empty one is no bot. The first call takes seconds, later ones milliseconds."""
    # The patterns are matched in UTF-8, which can't hold half of a surrogate pair.
    agent = agent.strip()[:MAX_AGENT].encode("utf-8", "replace").decode()
    if not agent:
        return Device()
    from device_detector import DeviceDetector

    found: Any = DeviceDetector(agent).parse()
    family = str(((found.all_details or {}).get("os") or {}).get("family", "")) or str(found.os_name())
    kind = found.device_type()
    kind = str(getattr(kind, "value", kind)) or ("desktop" if family in _DESKTOPS else "")
    return Device(
        _BROWSER.get(str(found.client_name()), "other"),
        _PLATFORM.get(family, "other"),
        _DEVICE.get(kind, "other"),
        bool(found.is_bot()),
    )
