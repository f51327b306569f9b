"""The stored document as an elasticsearch-dsl model. Index templates and the files in `mappings/` are made from it.

No property can conflict with the mapping, and the mapping has a maximal size (tried on 8.19.3 and 9.2.0,
tests/test_mapping.py):

    subobjects: false              a name with dots is a name; `p` and `p.b` live side by side
    date_detection: false          text that looks like a date stays text
    any number -> double           so the first integer doesn't forbid the first fraction
    any number -> not coerced      the text "3" isn't the number 3
    any string, boolean -> keyword up to 1,024 characters; longer text is kept, only not indexed
    ignore_malformed               a property that changes type is kept, only not indexed in that document
    ignore_dynamic_beyond_limit    the 2,001st property is kept, only not indexed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from elasticsearch_dsl import Boolean, Date, Document, Double, Index, Keyword, Long, Mapping
from elasticsearch_dsl.field import Field as DslField

from metronome.event.fields import FIELDS, Field, Kind

#: Longest text of a property that is indexed, in characters.
MAX_INDEXED = 1024

#: The same for named fields, whose every value must count. 8,191 characters of four bytes fit Lucene's 32,766 bytes.
MAX_INDEXED_NAMED = 8191

TOTAL_FIELDS = 2000

#: Logstash's own template for `logstash-*` has 200; ours must win where both are installed.
PRIORITY = 250


#: The elasticsearch-dsl field of each kind in the table of fields.
_OF_KIND: dict[Kind, Callable[..., DslField]] = {
    "keyword": lambda **options: Keyword(ignore_above=MAX_INDEXED_NAMED, **options),
    "long": Long,
    "double": Double,
    "boolean": Boolean,
    "date": Date,
}

#: Text isn't taken as a number, even if it looks like one.
_NUMBER = {"type": "double", "coerce": False}

#: Flags are stored as text. `meta` tells readers of the mapping that `true` was sent, and not `"true"`.
_TEXT = {"type": "keyword", "ignore_above": MAX_INDEXED}

#: Types of properties that have no name in the table.
_DYNAMIC = [
    {"integers": {"match_mapping_type": "long", "mapping": _NUMBER}},
    {"numbers": {"match_mapping_type": "double", "mapping": _NUMBER}},
    {"flags": {"match_mapping_type": "boolean", "mapping": {**_TEXT, "meta": {"kind": "flag"}}}},
    {"texts": {"match_mapping_type": "string", "mapping": {**_TEXT, "meta": {"kind": "text"}}}},
]


def event_mapping(fields: Iterable[Field]) -> Mapping:
    """The mapping of these fields. Names with dots stay single names, because `subobjects` is false."""
    mapping = Mapping()
    for field in fields:
        options = {} if field.searched else {"index": False}
        mapping.field(field.name, _OF_KIND[field.kind](**options))
    mapping.meta("dynamic_templates", _DYNAMIC)
    mapping.meta("date_detection", False)
    mapping.meta("numeric_detection", False)
    return mapping


class UsageEvent(Document):
    """One event in Logstash format: the fields of the table in event/fields.py, and any other property."""

    class Meta:
        mapping = event_mapping(FIELDS)


def composable(document: type[Document], pattern: str, priority: int, settings: dict[str, Any]) -> dict[str, Any]:
    """The body of a composable index template for a model, as JSON."""
    index = Index(pattern)
    index.document(document)
    index.settings(index=settings)
    body: dict[str, Any] = index.as_composable_template("", priority=priority).to_dict()
    body["template"]["mappings"]["subobjects"] = False  # elasticsearch-dsl doesn't know this parameter
    return body


def template(prefix: str, shards: int = 1, refresh_s: int = 1) -> dict[str, Any]:
    """The composable index template of events, for `PREFIX-*`, as JSON."""
    settings = {
        "number_of_shards": str(shards),
        # No replica on a single node, and one as soon as there is a second node.
        "auto_expand_replicas": "0-1",
        "refresh_interval": f"{refresh_s}s",
        "mapping": {
            "ignore_malformed": "true",
            "total_fields": {"limit": str(TOTAL_FIELDS), "ignore_dynamic_beyond_limit": "true"},
        },
    }
    meta = {"by": "metronome", "description": "Usage events in Logstash format, one index a UTC day"}
    return {**composable(UsageEvent, f"{prefix}-*", PRIORITY, settings), "_meta": meta}
