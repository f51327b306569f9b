"""A JSON Schema for each report, written from the standard and not from our table of reports.

It is the published one with its known mistakes mended (`docs/counter.md` names them): where both differ, the Code of
Practice wins. Source: COUNTER R5.1, sections 3 and 4.
"""

from __future__ import annotations

from typing import Any

_DAY = {"type": "string", "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"}
_MONTH = "^[0-9]{4}-(0[1-9]|1[0-2])$"
_TEXT = {"type": "string"}
_NAME = {"type": "string", "minLength": 1}
_PROPRIETARY = {"type": "string", "pattern": "^[A-Za-z0-9_./]{1,17}:.+$"}
_ISSN = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{3}[0-9X]$"}

_FORMS: dict[str, Any] = {
    "DOI": {"type": "string", "pattern": r"^10\.[0-9.]+/\S+$"},
    "Proprietary": _PROPRIETARY,
    "ISBN": {"type": "string", "pattern": "^97[89](-[0-9]+){4}$", "minLength": 17, "maxLength": 17},
    "Print_ISSN": _ISSN,
    "Online_ISSN": _ISSN,
    "Linking_ISSN": _ISSN,
    "URI": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9+.-]*:"},
}

_SEARCHES = ["Searches_Automated", "Searches_Federated", "Searches_Regular"]
_ITEMS = ["Total_Item_Investigations", "Total_Item_Requests", "Unique_Item_Investigations", "Unique_Item_Requests"]
_TITLES = ["Unique_Title_Investigations", "Unique_Title_Requests"]
_REQUESTS = ["Total_Item_Requests", "Unique_Item_Requests"]
_DENIALS = ["Limit_Exceeded", "No_License"]
_BOOKS = ["Book", "Reference_Work"]
_MEDIA = ["Audiovisual", "Image", "Interactive_Resource", "Multimedia", "Sound"]
_ACCESS = ["Controlled", "Open", "Free_To_Read"]

_EVERYWHERE = ["Other", "Patent", "Report", "Standard", "Thesis_or_Dissertation", "Unspecified"]
_HOLDERS = ["Book", "Conference", "Journal", "Newspaper_or_Newsletter", "Reference_Work"]
_PARTS = ["Article", "Book_Segment", "Conference_Item", "Dataset", "News_Item", "Reference_Item", "Software"]
_DATABASES = ["Database_Aggregated", "Database_AI", "Database_Full"]
_KINDS = {
    "PR": [*_EVERYWHERE, *_HOLDERS, *_MEDIA, *_PARTS, "Database_Full_Item", "Platform"],
    "DR": [*_EVERYWHERE, *_HOLDERS, *_MEDIA, *_DATABASES, "Database_Full_Item"],
    "TR": [*_EVERYWHERE, *_HOLDERS],
    "IR": [*_EVERYWHERE, *_MEDIA, *_PARTS, "Database_Full_Item"],
}
_METRICS = {
    "PR": ["Searches_Platform", *_ITEMS, *_TITLES],
    "DR": [*_SEARCHES, *_ITEMS, *_TITLES, *_DENIALS],
    "TR": [*_ITEMS, *_TITLES, *_DENIALS],
    "IR": [*_ITEMS, *_DENIALS],
}
_NAMES = {
    "PR": "Platform Report",
    "PR_P1": "Platform Usage",
    "DR": "Database Report",
    "DR_D1": "Database Search and Item Usage",
    "DR_D2": "Database Access Denied",
    "TR": "Title Report",
    "TR_B1": "Book Requests (Controlled)",
    "TR_B2": "Book Access Denied",
    "TR_B3": "Book Usage by Access Type",
    "TR_J1": "Journal Requests (Controlled)",
    "TR_J2": "Journal Access Denied",
    "TR_J3": "Journal Usage by Access Type",
    "TR_J4": "Journal Requests by YOP (Controlled)",
    "IR": "Item Report",
    "IR_A1": "Journal Article Requests",
    "IR_M1": "Multimedia Item Requests",
}

#: A view's (data types, access types, metrics, attributes shown).
VIEWS: dict[str, tuple[list[str], list[str], list[str], list[str]]] = {
    "PR_P1": ([], [], ["Searches_Platform", *_REQUESTS, "Unique_Title_Requests"], ["Data_Type"]),
    "DR_D1": ([], [], [*_SEARCHES, *_ITEMS], []),
    "DR_D2": ([], [], _DENIALS, []),
    "TR_B1": (_BOOKS, ["Controlled"], ["Total_Item_Requests", "Unique_Title_Requests"], ["Data_Type", "YOP"]),
    "TR_B2": (_BOOKS, [], _DENIALS, ["Data_Type", "YOP"]),
    "TR_B3": (_BOOKS, [], [*_ITEMS, *_TITLES], ["Data_Type", "YOP", "Access_Type"]),
    "TR_J1": (["Journal"], ["Controlled"], _REQUESTS, []),
    "TR_J2": (["Journal"], [], _DENIALS, []),
    "TR_J3": (["Journal"], [], _ITEMS, ["Access_Type"]),
    "TR_J4": (["Journal"], ["Controlled"], _REQUESTS, ["YOP"]),
    "IR_A1": (["Article"], [], _REQUESTS, ["Access_Type"]),
    "IR_M1": (_MEDIA, [], _REQUESTS, ["Data_Type"]),
}

IDS = {
    "DR": ["Proprietary"],
    "TR": list(_FORMS),
    "TR_J": [name for name in _FORMS if name != "ISBN"],
    "IR": list(_FORMS),
    "IR_A": [name for name in _FORMS if name != "ISBN"],
    "IR_M": ["DOI", "Proprietary", "URI"],
}

EXTENSIONS = ["Institution_Name", "Customer_ID", "Country_Code", "Subdivision_Code", "Attributed"]
DETAILS = ["Authors", "Publication_Date", "Article_Version"]


def schema(report_id: str) -> dict[str, Any]:
    """The schema of one report."""
    full = report_id.partition("_")[0]
    items = {"PR": _platform, "DR": _database, "TR": _title, "IR": _parent}[full](report_id)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_object({"Report_Header": _header(report_id), "Report_Items": {"type": "array", "items": items}}),
        # No report is empty without a reason.
        "if": {"properties": {"Report_Items": {"maxItems": 0}}},
        "then": {"properties": {"Report_Header": {"required": ["Exceptions"]}}},
    }


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": False,
    }


def _list(items: dict[str, Any], most: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "array", "items": items, "minItems": 1, "uniqueItems": True}
    return found if most is None else {**found, "maxItems": most}


def _ids(names: list[str]) -> dict[str, Any]:
    return _object({}, {name: _list(_PROPRIETARY if name == "Proprietary" else _NAME) for name in names})


def _header(report_id: str) -> dict[str, Any]:
    exception = _object({"Code": {"type": "integer"}, "Message": _NAME}, {"Data": _NAME, "Help_URL": _NAME})
    optional: dict[str, Any] = {"Exceptions": _list(exception)}
    if report_id not in VIEWS:
        optional["Report_Attributes"] = {**_attributes(report_id), "minProperties": 1}
    return _object(
        {
            "Release": {"const": "5.1"},
            "Report_ID": {"const": report_id},
            "Report_Name": {"const": _NAMES[report_id]},
            "Created": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
            "Created_By": _NAME,
            "Institution_ID": {
                **_ids(["ISIL", "ISNI", "OCLC", "ROR", "Proprietary"]),
                "required": ["Proprietary"],
            },
            "Institution_Name": _NAME,
            "Registry_Record": {
                "type": "string",
                "pattern": "^$|^https://registry.countermetrics.org/platform/[0-9a-f-]{36}$",
            },
            "Report_Filters": _filters(report_id),
        },
        optional,
    )


def _filters(report_id: str) -> dict[str, Any]:
    dates = {"Begin_Date": {"type": "string", "pattern": _MONTH.removesuffix("$") + "-01$"}, "End_Date": _DAY}
    if report_id in VIEWS:
        kinds, access, metrics, _ = VIEWS[report_id]
        fixed = {"Data_Type": kinds, "Access_Type": access, "Access_Method": ["Regular"], "Metric_Type": metrics}
        return _object({**dates, **{name: {"const": one} for name, one in fixed.items() if one}}, {"Platform": _NAME})
    full = report_id
    optional: dict[str, Any] = {
        "Platform": _NAME,
        "Metric_Type": _list({"enum": _METRICS[full]}),
        "Data_Type": _list({"enum": _KINDS[full]}),
        "Access_Method": _list({"enum": ["Regular", "TDM"]}),
        "Attributed": _list({"enum": ["Yes", "No"]}),
        "Country_Code": _list({"type": "string", "pattern": "^[A-Z]{2}$"}),
        "Subdivision_Code": _list(_NAME),
    }
    if full == "DR":
        optional["Database"] = _NAME
    if full in ("TR", "IR"):
        optional["Access_Type"] = _list({"enum": _ACCESS})
        optional["YOP"] = _list({"type": "string", "pattern": "^[0-9]{4}(-[0-9]{4})?$"})
        optional["Item_ID"] = _NAME
    if full == "IR":
        optional["Author"] = _NAME
    return _object(dates, optional)


def _attributes(full: str) -> dict[str, Any]:
    shown = ["Access_Method", *EXTENSIONS]
    shown += ["YOP", "Access_Type"] if full in ("TR", "IR") else []
    shown += DETAILS if full == "IR" else []
    optional: dict[str, Any] = {"Attributes_To_Show": _list({"enum": shown}), "Granularity": {"const": "Totals"}}
    if full == "IR":
        optional["Include_Parent_Details"] = {"const": "True"}
    return _object({}, optional)


def _performance(report_id: str) -> dict[str, Any]:
    full = report_id.partition("_")[0]
    kinds, access, metrics, shown = VIEWS.get(report_id, ([], [], _METRICS[full], ["Data_Type"]))
    values: dict[str, Any] = {
        "Data_Type": {"enum": kinds or _KINDS[full]},
        "YOP": {"type": "string", "pattern": "^[0-9]{4}$"},
        "Access_Type": {"enum": access or _ACCESS},
        "Access_Method": {"enum": ["Regular", "TDM"]},
        **dict.fromkeys(EXTENSIONS, _NAME),
    }
    allowed = set(shown)
    if report_id not in VIEWS:
        allowed |= {"Access_Method", *EXTENSIONS} | ({"YOP", "Access_Type"} if full in ("TR", "IR") else set())
    months = {
        "type": "object",
        "minProperties": 1,
        "patternProperties": {_MONTH: {"type": "integer", "minimum": 1}},
        "additionalProperties": False,
    }
    counts = {**_object({}, dict.fromkeys(metrics, months)), "minProperties": 1}
    return _object(
        {**{name: values[name] for name in shown}, "Performance": counts},
        {name: values[name] for name in allowed - set(shown)},
    )


def _platform(report_id: str) -> dict[str, Any]:
    return _object({"Platform": _NAME, "Attribute_Performance": _list(_performance(report_id))})


def _described(report_id: str, element: str, names: list[str], optional: dict[str, Any]) -> dict[str, Any]:
    return _object(
        {
            element: _TEXT if element != "Database" else _NAME,
            "Publisher": _TEXT,
            "Platform": _NAME,
            "Item_ID": {**_object({}, {name: _FORMS[name] for name in names}), "required": ["Proprietary"]},
            "Attribute_Performance": _list(_performance(report_id)),
        },
        {"Publisher_ID": _ids(["ISNI", "ROR", "Proprietary"]), **optional},
    )


def _database(report_id: str) -> dict[str, Any]:
    return _described(report_id, "Database", IDS["DR"], {})


def _title(report_id: str) -> dict[str, Any]:
    return _described(report_id, "Title", IDS["TR_J" if "_J" in report_id else "TR"], {})


_AUTHOR = _object(
    {"Name": _NAME}, {"ISNI": _NAME, "ORCID": {"type": "string", "pattern": "^([0-9]{4}-){3}[0-9]{3}[0-9X]$"}}
)
_ABOUT: dict[str, Any] = {
    "Authors": _list(_AUTHOR, 3),
    "Publication_Date": _DAY,
    "Article_Version": {"enum": ["AO", "SMUR", "AM", "P", "VoR", "CVoR", "EVoR"]},
}


def _parent(report_id: str) -> dict[str, Any]:
    names = IDS[report_id[:4]]
    item = _described(report_id, "Item", names, {} if report_id == "IR_M1" else _ABOUT)
    items = {"Items": {"type": "array", "minItems": 1, "items": item}}
    if report_id == "IR_M1":
        return _object(items)
    known = {"Title": _TEXT, "Item_ID": _object({}, {name: _FORMS[name] for name in names}), **_ABOUT}
    if report_id == "IR":
        known["Data_Type"] = {"enum": [*_HOLDERS, *_DATABASES]}
    return {**_object(items, known), "dependentRequired": {"Title": ["Item_ID"], "Item_ID": ["Title"]}}
