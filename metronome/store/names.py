"""Names of indices and templates: the only place that spells them. No client is needed to know one."""

from __future__ import annotations

from datetime import date

from metronome.settings import Settings

#: What the names of all record indices begin with.
_RECORDS = "metronome"

#: Matches the names of all templates, also those of installations with another prefix.
TEMPLATES = "metronome-*"


def template_name(settings: Settings) -> str:
    """Name of the event template in Elasticsearch, and of its file in `mappings/`. Each prefix has its own."""
    return f"metronome-{settings.index_prefix}"


def pattern(settings: Settings) -> str:
    """The pattern that questions read: every daily index, also those that Logstash and Fluentd write."""
    return f"{settings.index_prefix}-*"


def day_index(settings: Settings, day: date) -> str:
    """The index of a UTC day."""
    return f"{settings.index_prefix}-{day:%Y.%m.%d}"


def day_shape(settings: Settings) -> str:
    """What the names of daily indices look like, with `#` for a digit."""
    return f"{settings.index_prefix}-####.##.##"


def day_of_index(settings: Settings, index: str) -> date | None:
    """The UTC day of a daily index; None for an index of another name."""
    try:
        day = date.fromisoformat(index.removeprefix(f"{settings.index_prefix}-").replace(".", "-"))
    except ValueError:
        return None
    return day if day_index(settings, day) == index else None


def record_index(settings: Settings, kind: str) -> str:
    """The index of one kind of records: `metronome-keys`, with another event prefix `metronome-keys-PREFIX`.

    So two installations with two prefixes share a cluster without sharing keys. METRONOME_INDEX_PREFIX can't be
    `metronome`, so the events' pattern never matches records.
    """
    return f"{_RECORDS}-{kind}{_suffix(settings)}"


def record_template_name(settings: Settings, kind: str) -> str:
    """Name of the template of one kind of records, and of its file in `mappings/`."""
    return f"{_RECORDS}-records-{kind}{_suffix(settings)}"


def record_pattern(settings: Settings) -> str:
    """The pattern of every index of records of this installation, for its role."""
    return f"{_RECORDS}-*{_suffix(settings)}"


def _suffix(settings: Settings) -> str:
    return "" if settings.index_prefix == Settings.index_prefix else f"-{settings.index_prefix}"
