"""The description of the routes for OpenAPI."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from metronome.counter.reports.files import MEDIA
from metronome.counter.reports.filters import FILTERS
from metronome.dialects import Paths

_JSON = "application/json"


class ExceptionSchema(Schema):
    """What the COUNTER API says where there is no report."""

    Code = fields.Integer(metadata={"description": "Number of the exception, of Appendix D of the standard"})
    Message = fields.String(metadata={"description": "The standard's words for it"})
    Data = fields.String(metadata={"description": "What it is about"})


class StatusSchema(Schema):
    Service_Active = fields.Boolean()
    Description = fields.String()
    Registry_Record = fields.String()
    Alerts = fields.List(fields.Dict(), metadata={"description": "`{Date_Time, Alert}`: months that were restated"})


class MemberSchema(Schema):
    Customer_ID = fields.String()
    Institution_Name = fields.String()
    Institution_ID = fields.Dict(metadata={"description": '`{"Proprietary": ["plat:c1"], "ROR": […]}`'})


class ReportListingSchema(Schema):
    Report_Name = fields.String()
    Report_ID = fields.String()
    Release = fields.String()
    Report_Description = fields.String()
    First_Month_Available = fields.String()
    Last_Month_Available = fields.String()
    Month_Details = fields.Dict(metadata={"description": "Months that were restated, each with its last change"})


class CounterReportSchema(Schema):
    Report_Header = fields.Dict()
    Report_Items = fields.List(fields.Dict())


def paths() -> Paths:
    report_id = {"in": "path", "name": "id", "required": True, "schema": {"type": "string"}, "example": "tr"}
    begin = _query("begin_date", "First month, yyyy-mm or its first day", required=True)
    end = _query("end_date", "Last month, yyyy-mm or its last day", required=True)
    form = _query("format", "json (the default), tsv or xlsx")
    chosen = [_query(row.parameter, f"Full reports: {row.name}; several with |") for row in FILTERS]
    attributes = [
        _query("attributes_to_show", "Full reports: further columns, such as YOP|Access_Type"),
        _query("granularity", "Full reports: Month (the default) or Totals"),
        _query("include_parent_details", "IR: True puts items below their parents"),
        _query("exclude_monthly_details", "Full reports as tsv or xlsx: True leaves the months' columns out"),
    ]
    listed = _query("include_month_details", "True adds the months that were restated")
    report = _found("The report, once it is made", CounterReportSchema, many=False)
    report["content"] |= {media.partition(";")[0]: {"schema": {"type": "string"}} for media in list(MEDIA.values())[1:]}
    return {
        "/r51/status": {
            "get": {
                "summary": "Whether the COUNTER API works",
                "responses": {"200": _found("The status", StatusSchema)},
            }
        },
        "/r51/members": {"get": _get("A consortium's members", MemberSchema)},
        "/r51/reports": {"get": _get("The COUNTER reports on offer", ReportListingSchema, listed)},
        "/r51/reports/{id}": {
            "get": {
                "summary": "A COUNTER report, as JSON, TSV or XLSX",
                "parameters": [report_id, *_CREDENTIALS, begin, end, form, *chosen, *attributes],
                "responses": {
                    "200": report,
                    "202": _refused("A month is being processed; ask again"),
                    **_refusals(),
                    "404": {"description": "There is no such report"},
                },
            }
        },
    }


def _query(name: str, description: str, *, required: bool = False) -> dict[str, Any]:
    schema = {"type": "string"}
    return {"in": "query", "name": name, "description": description, "required": required, "schema": schema}


_CREDENTIALS = [
    _query("customer_id", "Whose usage", required=True),
    _query("requestor_id", "Who asks: the customer itself, or a consortium that it is a member of", required=True),
    _query("api_key", "The requestor's key, as `metronome counter customers add` printed it", required=True),
]


def _get(summary: str, schema: type[Schema], *parameters: dict[str, Any]) -> dict[str, Any]:
    responses = {"200": _found(summary, schema), **_refusals()}
    return {"summary": summary, "parameters": [*_CREDENTIALS, *parameters], "responses": responses}


def _found(description: str, schema: type[Schema], *, many: bool = True) -> dict[str, Any]:
    shape: Any = {"type": "array", "items": schema} if many else schema
    return {"description": description, "content": {_JSON: {"schema": shape}}}


def _refused(description: str) -> dict[str, Any]:
    return {"description": description, "content": {_JSON: {"schema": ExceptionSchema}}}


def _refusals() -> dict[str, Any]:
    return {
        "400": _refused("Something is missing (1030), or a date can't be taken (3020)"),
        "401": _refused("The requestor (2000) or its key (2020) isn't known"),
        "403": _refused("The requestor isn't for this customer (2010), or there are no global reports (2011)"),
        "429": _refused("Too many requests (1020)"),
        "503": _refused("Not available (1000) or busy (1010); Retry-After says when to return"),
    }
