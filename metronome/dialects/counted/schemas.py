"""What a counted usage may hold, and the errors for what it may not.

Null and the empty text are the same as leaving an attribute out: page scripts send both.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, pre_load, validates_schema

from metronome.counter import values
from metronome.dialects.counted.answers import Error, Invalid
from metronome.periods import read_time

LABELS = ("search", "view", "download", "web", "api")

_REQUIRED: dict[str, Any] = {"required": "This field is required.", "null": "This field is required."}
_BAD_LABEL = f"Invalid value in action_labels! Valid labels: {', '.join(LABELS)}"
_NO_DATA: Error = {
    "source": {"pointer": "/data"},
    "detail": "Request must include /data.",
    "meta": {},
    "status": "400",
}

#: Statuses of HTTP.
_STATUSES = range(100, 600)

_ADDRESS = re.compile(r"(?:https?|ftps?)://[^\s/?#]+(?:[/?#]\S*)?", re.I)


class _Text(fields.Field[str]):
    """A text, or a number, which is taken as its text."""

    def __init__(
        self, most: int = 255, check: Callable[[str], Any] | None = None, says: str = "", **options: Any
    ) -> None:
        super().__init__(**options)
        self._most, self._check, self._says = most, check, says

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValidationError("Not a valid string.")
        text = str(value).strip()
        if len(text) > self._most:
            raise ValidationError(f"Ensure this field has no more than {self._most} characters.")
        if self._check is not None and not self._check(text):
            raise ValidationError(self._says)
        return text


def _word(*words: str, **options: Any) -> _Text:
    return _Text(check=words.__contains__, says=f"One of {', '.join(words)}.", **options)


def _url(**options: Any) -> _Text:
    return _Text(4095, _ADDRESS.fullmatch, "Enter a valid URL.", **options)


class _Part(Schema):
    """An object of which null and empty parts are left out."""

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "Unknown field.", "type": "An object is expected."}  # noqa: RUF012

    @pre_load
    def without_nothing(self, given: Any, **_: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {name: value for name, value in given.items() if value is not None and value != ""}


class _Ids(fields.Field[Any]):
    """Identifiers by their kinds, each in the form of its kind; with `several`, a list of each."""

    def __init__(self, forms: Mapping[str, re.Pattern[str]], *, several: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._forms, self._several = forms, several

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValidationError("An object is expected.")
        found: dict[str, Any] = {}
        for kind, given in value.items():
            if given is None or given == "" or given == []:
                continue
            if kind not in self._forms:
                raise ValidationError({kind: [f"Unknown field. One of {', '.join(self._forms)}."]})
            listed = given if isinstance(given, list) else [given]
            if not all(isinstance(one, str) and self._forms[kind].fullmatch(one) for one in listed):
                raise ValidationError({kind: [f"{str(given)[:60]!r} isn't of this kind."]})
            if len(listed) != 1 and not self._several:
                raise ValidationError({kind: ["One is expected."]})
            found[kind] = listed if self._several else listed[0]
        return found


class PageviewSchema(_Part):
    class Meta:
        unknown = EXCLUDE

    page_url = _url(required=True, error_messages=_REQUIRED, metadata={"description": "Address of the page"})
    page_title = _Text(4095)
    referer_url = _url()
    route_name = _Text(4095)


class SegmentSchema(_Part):
    id = _Text(required=True)
    name = _Text(1000)


class AuthorSchema(_Part):
    name = _Text(1000, required=True)
    ISNI = _Text(check=values.AUTHOR_IDS["ISNI"].fullmatch, says="Not an ISNI.")
    ORCID = _Text(check=values.AUTHOR_IDS["ORCID"].fullmatch, says="Not an ORCID, such as 0000-0001-2345-6789.")


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


class ItemSchema(_Part):
    name = _Text(4095)
    data_type = _word(*values.REPORTS_OF)
    yop = _Text(check=values.YOP.fullmatch, says="Four digits; 0001 where it isn't known, 9999 in press.")
    access_type = _word(*values.ACCESS_TYPES)
    ids = _Ids(values.ITEM_IDS)
    segments = fields.List(fields.Nested(SegmentSchema))
    article_version = _word(*values.ARTICLE_VERSIONS)
    publication_date = _Text(check=_is_day, says="A day such as 2024-02-01.")
    authors = fields.List(fields.Nested(AuthorSchema))


class TitleSchema(_Part):
    id = _Text()
    name = _Text(4095)
    data_type = _word(*[kind for kind in values.REPORTS_OF if values.are_in("T", kind)])
    ids = _Ids(values.ITEM_IDS)

    @validates_schema
    def is_told_apart(self, given: dict[str, Any], **_: Any) -> None:
        if not (given.get("id") or given.get("ids") or given.get("name")):
            raise ValidationError("A title has an id, ids or a name.")


class PublisherSchema(_Part):
    name = _Text(1000)
    ids = _Ids(values.PUBLISHER_IDS, several=True)


class DatabaseSchema(_Part):
    id = _Text(required=True, error_messages=_REQUIRED)
    name = _Text(1000)
    data_type = _word(*values.DATABASE_TYPES)


class _Time(fields.Field[Any]):
    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        try:
            return read_time(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None


class _Status(fields.Field[int]):
    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        if isinstance(value, bool) or not re.fullmatch(r"\d{3}", str(value)) or int(value) not in _STATUSES:
            raise ValidationError("A status of HTTP, such as 200.")
        return int(value)


class _CustomerIds(fields.Field[list[str]]):
    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[str]:
        listed = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) and one for one in listed):
            raise ValidationError("The id of a customer, or a list of them.")
        return listed


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class CounterSchema(_Part):
    """What COUNTER needs beside the original's attributes."""

    timestamp = _Time()
    status = _Status()
    ip = _Text(check=_is_ip, says="An IP address.")
    # An empty agent says something: the list of robots matches it.
    user_agent = fields.String()
    user_id = _Text(4095)
    user_cookie = _Text(4095)
    customer_id = _CustomerIds()
    item = fields.Nested(ItemSchema)
    title = fields.Nested(TitleSchema)
    publisher = fields.Nested(PublisherSchema)
    databases = fields.List(fields.Nested(DatabaseSchema))
    denial = _word(*values.DENIALS)
    search = _word(*values.SEARCHES)
    country = _Text(check=values.COUNTRY.fullmatch, says="A country of ISO 3166-1, such as NL.")
    subdivision = _Text(check=values.SUBDIVISION.fullmatch, says="A subdivision of ISO 3166-2, such as NL-UT.")

    @pre_load
    def without_nothing(self, given: Any, **_: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {
            name: value for name, value in given.items() if value is not None and (value != "" or name == "user_agent")
        }


class UsageSchema(_Part):
    """The attributes of a counted usage; others are ignored."""

    class Meta:
        unknown = EXCLUDE

    action_labels = fields.Raw(required=True, error_messages=_REQUIRED)
    item_guid = _Text()
    client_session_id = _Text()
    provider_id = _Text()
    item_public = fields.Raw()
    pageview_info = fields.Nested(PageviewSchema)
    counter = fields.Nested(CounterSchema)

    @validates_schema(skip_on_field_errors=False)
    def has_labels(self, given: dict[str, Any], **_: Any) -> None:
        labels = given.get("action_labels")
        if labels is None:
            return
        if not isinstance(labels, list):
            raise ValidationError(f'Expected a list of items but got type "{type(labels).__name__}".', "action_labels")
        if not labels:
            raise ValidationError("This list may not be empty.", "action_labels")
        if not all(isinstance(label, str) and label in LABELS for label in labels):
            raise ValidationError(_BAD_LABEL, "action_labels")

    @validates_schema
    def searches_are_labelled(self, given: dict[str, Any], **_: Any) -> None:
        if given.get("counter", {}).get("search") and "search" not in (given.get("action_labels") or ()):
            raise ValidationError({"counter": {"search": ["A search has the label search."]}})


_schema = UsageSchema()


def attributes_of(posted: Any) -> dict[str, Any]:
    """The attributes of a resource in JSON:API; raises Invalid."""
    data = posted.get("data") if isinstance(posted, dict) else None
    if not isinstance(data, dict) or not data:
        raise Invalid([_NO_DATA])
    attributes = data.get("attributes")
    if not isinstance(attributes, dict):
        raise Invalid([{"source": {"pointer": "/data/attributes"}, "detail": "Request must include /data/attributes."}])
    return attributes


def read_usage(posted: Any) -> dict[str, Any]:
    """The attributes of a posted usage; raises Invalid."""
    try:
        found: dict[str, Any] = _schema.load(attributes_of(posted))
    except ValidationError as error:
        raise Invalid(list(_listed(error.messages_dict, "/data/attributes"))) from None
    if not found.get("item_guid") and not found.get("pageview_info"):
        raise Invalid([{"detail": "At least one of item_guid and pageview_info.page_url is required."}])
    return found


def _listed(messages: Any, pointer: str) -> Iterator[Error]:
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            yield from _listed(inner, pointer if name == "_schema" else f"{pointer}/{name}")
        return
    for message in messages if isinstance(messages, list) else [messages]:
        yield {"source": {"pointer": pointer}, "detail": str(message)}
