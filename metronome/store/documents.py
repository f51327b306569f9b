"""The stored document as an elasticsearch-dsl model; `mappings/` is written from it, and nothing else is.

The mapping can neither conflict nor explode (tried on 8.19.3 and 9.2.0, tests/test_mapping.py):

    subobjects: false              a name with dots is a name; `p` and `p.b` live side by side
    date_detection: false          text that looks like a date stays text
    any number -> double           so the first integer doesn't forbid the first fraction
    any number -> not coerced      the text "3" isn't the number 3
    any string, boolean -> keyword up to 1,024 characters; longer text is kept, only not indexed
    ignore_malformed               a property that changes type is kept, only not indexed in that document
    ignore_dynamic_beyond_limit    the 2,001st property is kept, only not indexed
"""

from __future__ import annotations

from typing import Any

from elasticsearch_dsl import Boolean, Date, Document, Double, Keyword, Long, MetaField
from elasticsearch_dsl.field import Field as DslField

from metronome.event.fields import FIELDS, Field

#: Longest text of a property that is indexed, in characters.
MAX_INDEXED = 1024

#: The same for named fields, whose counts must be whole: 8,191 characters of four bytes fit Lucene's 32,766.
MAX_INDEXED_NAMED = 8191

TOTAL_FIELDS = 2000

#: Text is no number, even where it looks like one.
_NUMBER = {"type": "double", "coerce": False}

#: Flags are stored as text; `meta` tells a reader of the mapping that `true` was sent and not `"true"`.
_TEXT = {"type": "keyword", "ignore_above": MAX_INDEXED}

#: Logstash's own template for `logstash-*` has 200; ours must win where both are installed.
PRIORITY = 250


def _dsl_field(field: Field) -> DslField:
    options = {} if field.searched else {"index": False}
    if field.kind == "date":
        return Date(**options)
    if field.kind == "boolean":
        return Boolean(**options)
    if field.kind == "double":
        return Double(**options)
    if field.kind == "long":
        return Long(**options)
    return Keyword(ignore_above=MAX_INDEXED_NAMED, **options)


class UsageEvent(Document):
    """One event in Logstash format. Its fields come from the table in `event.py`."""

    class Meta:
        dynamic_templates = MetaField(
            [
                {"integers": {"match_mapping_type": "long", "mapping": _NUMBER}},
                {"numbers": {"match_mapping_type": "double", "mapping": _NUMBER}},
                {"flags": {"match_mapping_type": "boolean", "mapping": {**_TEXT, "meta": {"kind": "flag"}}}},
                {"texts": {"match_mapping_type": "string", "mapping": {**_TEXT, "meta": {"kind": "text"}}}},
            ]
        )
        date_detection = MetaField(False)
        numeric_detection = MetaField(False)


def mapping() -> dict[str, Any]:
    """The mapping of an event index, as JSON; without subobjects, names with dots are properties of their own."""
    body = UsageEvent._doc_type.mapping.to_dict()
    body["subobjects"] = False  # elasticsearch-dsl has no word for it
    body["properties"] = {field.name: _dsl_field(field).to_dict() for field in FIELDS}
    return dict(body)


def template(prefix: str, shards: int = 1, refresh_s: int = 1) -> dict[str, Any]:
    """The composable index template for `PREFIX-*`, as JSON."""
    return {
        "index_patterns": [f"{prefix}-*"],
        "priority": PRIORITY,
        "template": {
            "settings": {
                "index": {
                    "number_of_shards": str(shards),
                    # No copy on a single node, one as soon as there is a second.
                    "auto_expand_replicas": "0-1",
                    "refresh_interval": f"{refresh_s}s",
                    "mapping": {
                        "ignore_malformed": "true",
                        "total_fields": {"limit": str(TOTAL_FIELDS), "ignore_dynamic_beyond_limit": "true"},
                    },
                }
            },
            "mappings": mapping(),
        },
        "_meta": {"by": "metronome", "description": "Usage events in Logstash format, one index a UTC day"},
    }
