"""Names of indices and templates: the only place that spells them. No client is needed to know one."""

from __future__ import annotations

from metronome.settings import Settings


def template_name(settings: Settings) -> str:
    """Name of the index template in Elasticsearch, and of its file in `mappings/`: one a prefix."""
    return f"metronome-{settings.index_prefix}"


def pattern(settings: Settings) -> str:
    """What questions read: every daily index, also those that Logstash and Fluentd write."""
    return f"{settings.index_prefix}-*"
