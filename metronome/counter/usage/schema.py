"""What a counted usage may hold, and what is wrong with one that can't be taken.

Null and the empty text are the same as leaving an attribute out: page scripts send both.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, pre_load, validates_schema

from metronome.counter import values
from metronome.periods import read_time

#: What only a server may say: a page's script could say anything.
SERVERS_ONLY = ("timestamp", "customer_id", "user_id", "user_cookie", "ip", "user_agent", "status")

LABELS = ("search", "view", "download", "web", "api")

_REQUIRED: dict[str, Any] = {"required": "This field is required.", "null": "This field is required."}
_BAD_LABEL = f"Invalid value in action_labels! Valid labels: {', '.join(LABELS)}"

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


def is_url(given: Any) -> bool:
    """Whether this is the address of a page, as a usage may have it."""
    return isinstance(given, str) and len(given) <= 4095 and _ADDRESS.fullmatch(given) is not None


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


class _Several(fields.List[Any]):
    """A list of objects, which is counted before any of them is read."""

    def __init__(self, part: type[Schema], most: int) -> None:
        super().__init__(fields.Nested(part))
        self.most = most

    def _deserialize(self, value: Any, *given: Any, **named: Any) -> list[Any]:
        if isinstance(value, list) and len(value) > self.most:
            raise ValidationError(f"At most {self.most}.")
        return super()._deserialize(value, *given, **named)


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
    segments = _Several(SegmentSchema, most=3000)
    article_version = _word(*values.ARTICLE_VERSIONS)
    publication_date = _Text(check=_is_day, says="A day such as 2024-02-01.")
    authors = _Several(AuthorSchema, most=1000)


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
    databases = _Several(DatabaseSchema, most=1000)
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


class Problem(NamedTuple):
    """One thing that is wrong: where, such as `("counter", "item", "yop")`, and what. Empty: the whole usage."""

    path: tuple[str, ...]
    detail: str


class Invalid(Exception):
    """A usage that can't be taken, with everything that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(str(problems))
        self.problems = problems


def read(attributes: Any) -> dict[str, Any]:
    """The attributes of a usage, checked; raises Invalid."""
    found = _read_quickly(attributes)
    if found is None:
        try:
            found = _schema.load(attributes)
        except ValidationError as error:
            raise Invalid(list(_listed(error.messages_dict, ()))) from None
    if not found.get("item_guid") and not found.get("pageview_info"):
        raise Invalid([Problem((), "At least one of item_guid and pageview_info.page_url is required.")])
    return found


def _read_quickly(attributes: Any) -> dict[str, Any] | None:
    """As the schema reads them, in a third of the time; None where something is wrong, which the schema then says."""
    try:
        found = _part(_schema, attributes)
        _schema.has_labels(found)
        _schema.searches_are_labelled(found)
        if "title" in found.get("counter", ()):
            _title.is_told_apart(found["counter"]["title"])
    except (ValidationError, AttributeError):
        return None
    return found


def _part(schema: Schema, given: Any) -> dict[str, Any]:
    """One object by the fields of its schema; raises ValidationError, or AttributeError where it is no object."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or (value == "" and name != "user_agent"):
            continue
        field = schema.fields.get(name)
        if field is None:
            if schema.unknown == RAISE:
                raise ValidationError("Unknown field.")
        elif isinstance(field, fields.Nested):
            found[name] = _part(field.schema, value)
        elif isinstance(field, _Several) and type(value) is list and len(value) <= field.most:
            found[name] = [_part(field.inner.schema, one) for one in value]  # type: ignore[attr-defined]
        else:
            found[name] = field.deserialize(value)
    if not _required[type(schema)] <= found.keys():
        raise ValidationError("This field is required.")
    return found


_title = TitleSchema()

_kinds: tuple[type[Schema], ...] = (
    UsageSchema,
    PageviewSchema,
    CounterSchema,
    ItemSchema,
    TitleSchema,
    PublisherSchema,
    SegmentSchema,
    AuthorSchema,
    DatabaseSchema,
)
_required = {kind: {name for name, field in kind().fields.items() if field.required} for kind in _kinds}


def _listed(messages: Any, path: tuple[str, ...]) -> Iterator[Problem]:
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            yield from _listed(inner, path if name == "_schema" else (*path, str(name)))
        return
    for message in messages if isinstance(messages, list) else [messages]:
        yield Problem(path, str(message))
