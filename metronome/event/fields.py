"""The names that mean something: one table, which the index template, the documentation and intake read.

An event is flat JSON, and its other names are the user's own. A document that Logstash or Fluentd wrote straight into
Elasticsearch has the same names with the same meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

#: One event as it crosses rooms: property name to JSON value, flat once `intake` has settled it.
Event = dict[str, Any]

VIEW = "view"
DOWNLOAD = "download"


#: Types that a field can have in the index; store/documents.py has an elasticsearch-dsl field for each.
Kind = Literal["keyword", "long", "double", "boolean", "date"]


@dataclass(frozen=True)
class Field:
    """A name that means something: its type in the index, its meaning, and whether only the gateway sets it.

    `dialect` names the section of the table: empty for a field of every event, else the dialect whose steps fill it.
    A field that isn't `searched` has no search index, which saves time in every event. It can still be sorted and
    split by. Raises ValueError for an unknown kind.
    """

    name: str
    kind: Kind
    meaning: str
    owned: bool = False
    searched: bool = True
    dialect: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"field {self.name!r}: kind {self.kind!r} is none of {', '.join(get_args(Kind))}")


def _stretch(name: str, kind: Kind, meaning: str, *, searched: bool = True) -> Field:
    """A field of what was watched of a video."""
    return Field(f"stretch.{name}", kind, meaning, owned=True, searched=searched, dialect="video")


#: Every field, section by section. A dialect's section stands behind the common one.
FIELDS: tuple[Field, ...] = (
    Field("@timestamp", "date", "When it happened, UTC; every query uses this time."),
    Field("@version", "keyword", 'Version of the Logstash document format, always "1".', searched=False),
    Field("id", "keyword", "The item: page, file, video, record. `/tock/:id` asks for it."),
    Field("item_id", "keyword", "The same as `id`; counts where `id` is absent."),
    Field("extra.item_id", "keyword", "The same, as python-logstash-async sends it."),
    Field("event", "keyword", "What happened; `view` and `download` are counted by `/tock`. Default: `view`."),
    Field("app", "keyword", "Application or site that the event belongs to."),
    Field("distinct_id", "keyword", "Who: an id of the user or visitor, as sent."),
    Field("session_id", "keyword", "The visit, as sent."),
    Field(
        "insert_id",
        "keyword",
        "Idempotency key: the same one twice (per `app`) is one event. Default: minted.",
    ),
    Field("seq", "long", "The client's own counter; orders events of equal time."),
    Field("ts_client", "keyword", "The client's time as given, where it isn't the text of `@timestamp`."),
    Field("sent_at", "keyword", "The client's time of the request, as given."),
    Field("referer", "keyword", "Address of the page that led here."),
    Field("extra.referer", "keyword", "The same, as python-logstash-async sends it."),
    Field("url", "keyword", "Address of the page where it happened."),
    Field("status", "long", "HTTP status of the answer, such as 404."),
    Field("country", "keyword", "Country of the visitor, as an ISO 3166 code such as `NL`."),
    Field("accept", "keyword", "Media types the visitor asked for; decides between view and download."),
    Field("format", "keyword", "Format of a download, such as `csv`."),
    Field("browser", "keyword", "Browser family, from the visitor's agent unless sent."),
    Field("platform", "keyword", "Operating system family, from the visitor's agent unless sent."),
    Field("user_agent", "keyword", "The visitor's agent. Judged, then withheld: only its families are stored."),
    Field("received_at", "date", "When the gateway received it.", owned=True, searched=False),
    Field(
        "dialect",
        "keyword",
        "Through which front door it came: `tick`, `forward` or `lines`.",
        owned=True,
        searched=False,
    ),
    Field(
        "referer_page",
        "keyword",
        "Host and path of the referer, unless it is the event's own host.",
        owned=True,
    ),
    Field(
        "is_robot",
        "boolean",
        "Whether the visitor's agent is on COUNTER's list. Absent: no agent known.",
        owned=True,
    ),
    Field(
        "is_machine",
        "boolean",
        "Whether it is on COUNTER's list of machines (scripts, libraries).",
        owned=True,
    ),
    Field("robot_pattern", "keyword", "The pattern of the list that matched.", owned=True),
    Field("robot_list", "keyword", "Name and version of the list.", owned=True),
    Field(
        "flags",
        "keyword",
        "What intake did: `clamped`, `renamed_keys`, `mixed_array`, `withheld`, `visitor_unlinked`.",
        owned=True,
    ),
    Field("linked_id", "keyword", "Another id of the person of `distinct_id`, in `$identify`, `$alias`, `$merge`."),
    Field("reverses", "keyword", "`_id` of the link that `$unmerge` takes back."),
    Field(
        "analytics_index",
        "keyword",
        "Index that AnalyticsTracker was given, where it isn't the default: its events are kept apart.",
        dialect="applications",
    ),
    Field("merged_by", "keyword", "Key with which people were merged or unmerged.", owned=True, dialect="people"),
    _stretch("id", "keyword", "A stretch of a video that was played: `video.play` opens it, `video.watch` is it."),
    _stretch("session", "keyword", "The join of the player that watched it."),
    _stretch("from", "double", "Position in the video where it begins, in seconds.", searched=False),
    _stretch("to", "double", "Position where it ends.", searched=False),
    _stretch("elapsed", "double", "Seconds that were watched.", searched=False),
    _stretch("order", "long", "How many stretches of the session were closed before it.", searched=False),
    _stretch("fresh", "long", "Whole seconds of it that the session hadn't watched before.", searched=False),
    _stretch("duration", "double", "Length of the video, in seconds.", searched=False),
    _stretch("video", "keyword", "Hash of the video: key, identifier, page and metadata."),
    _stretch("key", "keyword", "Id of the key that the player joined with."),
    _stretch("identifier", "keyword", "Hash of the video's identifier."),
    _stretch("has", "keyword", "Hashes of all that metadata and session data hold, for containment queries."),
    _stretch("metadata", "keyword", "Metadata and session data as JSON.", searched=False),
    _stretch("address", "keyword", "Address of the page, without query."),
    _stretch("host", "keyword", "Host of the page."),
    _stretch("browser", "keyword", "Browser, as the video API names it.", searched=False),
    _stretch("platform", "keyword", "Platform, as the video API names it.", searched=False),
    _stretch("device", "keyword", "Device, as the video API names it.", searched=False),
    Field(
        "counter.key",
        "keyword",
        "Of a counted usage: distinct ones are usages, where two within a slot of 30 s are one.",
        owned=True,
        dialect="counted",
    ),
    Field(
        "counter.click",
        "keyword",
        "Keyed hash of visitor and link: two events at most 30 s apart that share it are a double click.",
        owned=True,
        searched=False,
        dialect="counted",
    ),
    Field(
        "counter.click_before",
        "keyword",
        "The same under the key of the day before, in the first 30 s of a day.",
        owned=True,
        dialect="counted",
    ),
    Field(
        "counter.about",
        "keyword",
        "What a counted usage was about, as JSON: item, title, databases, customers.",
        owned=True,
        searched=False,
        dialect="counted",
    ),
)

#: Names that no client can set, whichever dialect it speaks: what the gateway says of an event can be trusted.
OWNED = frozenset(field.name for field in FIELDS if field.owned)

#: Where the item of an event may stand; the first that is there decides.
ITEM_NAMES = ("id", "item_id", "extra.item_id")

#: Where a visitor's agent stands in raw documents. Intake knows more names (privacy.py), and judges it under the first.
AGENT_NAMES = ("user_agent", "user-agent", "user_agent.original", "http_user_agent", "extra.user_agent")

#: Where the client's time may stand; the first that is there counts.
TIME_NAMES = ("@timestamp", "timestamp", "time", "ts")

#: Names of Elasticsearch's own metadata, which a document may not use as field names.
METADATA = frozenset(
    (
        "_id",
        "_index",
        "_index_mode",
        "_source",
        "_type",
        "_routing",
        "_field_names",
        "_ignored",
        "_ignored_source",
        "_seq_no",
        "_primary_term",
        "_version",
        "_doc_count",
        "_nested_path",
        "_tier",
        "_feature",
        "_tsid",
        "_ts_routing_hash",
        "_data_stream_timestamp",
        "_inference_fields",
        "_size",
        "_recovery_source",
    )
)


def owned_by(dialect: str) -> frozenset[str]:
    """The fields that steps of this dialect may set: the owned ones of its section."""
    return frozenset(field.name for field in FIELDS if field.owned and field.dialect == dialect)
