"""The values of the standard, and which of them goes with which. Source: COUNTER R5.1, section 3.3."""

from __future__ import annotations

import re

ACCESS_TYPES = ("Controlled", "Open", "Free_To_Read")

DENIALS = ("No_License", "Limit_Exceeded")

SEARCHES = ("Regular", "Automated", "Federated")

DATABASE_TYPES = ("Database_Aggregated", "Database_AI", "Database_Full")

ARTICLE_VERSIONS = ("AO", "SMUR", "AM", "P", "VoR", "CVoR", "EVoR")

#: In which reports a data type may stand: P platform, D database, T title, I item.
REPORTS_OF = {
    "Article": "PI",
    "Audiovisual": "PDI",
    "Book": "PDT",
    "Book_Segment": "PI",
    "Conference": "PDT",
    "Conference_Item": "PI",
    "Database_Full_Item": "PDI",
    "Dataset": "PI",
    "Image": "PDI",
    "Interactive_Resource": "PDI",
    "Journal": "PDT",
    "Multimedia": "PDI",
    "News_Item": "PI",
    "Newspaper_or_Newsletter": "PDT",
    "Other": "PDTI",
    "Patent": "PDTI",
    "Reference_Item": "PI",
    "Reference_Work": "PDT",
    "Report": "PDTI",
    "Software": "PI",
    "Sound": "PDI",
    "Standard": "PDTI",
    "Thesis_or_Dissertation": "PDTI",
    "Unspecified": "PDTI",
}

#: The data type of the parent that items of a type have in IR. Items of all other types have none.
PARENT_OF = {
    "Article": "Journal",
    "Book_Segment": "Book",
    "Conference_Item": "Conference",
    "Database_Full_Item": "Database_Full",
    "News_Item": "Newspaper_or_Newsletter",
    "Reference_Item": "Reference_Work",
}

#: The other way round: the data type of the parts of a title.
PART_OF = {parent: part for part, parent in PARENT_OF.items()}

#: Titles that are one item where it isn't known which of their parts was used.
WHOLE = ("Book", "Reference_Work", "Newspaper_or_Newsletter")

#: Titles of which unique titles are counted.
UNIQUE_TITLES = ("Book", "Reference_Work")

_ISSN = re.compile(r"\d{4}-\d{3}[\dX]")

#: Identifiers of items and titles, each with its form.
ITEM_IDS = {
    "DOI": re.compile(r"10\.\d[\d.]*/\S+"),
    "ISBN": re.compile(r"(?=.{17}$)97[89]-\d+-\d+-\d+-\d"),
    "Print_ISSN": _ISSN,
    "Online_ISSN": _ISSN,
    "URI": re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+"),
}

PUBLISHER_IDS = {
    "ISNI": re.compile(r"(?:\d{4} ?){3}\d{3}[\dX]"),
    "ROR": re.compile(r"0[a-z0-9]{8}"),
    "Proprietary": re.compile(r"[A-Za-z0-9_./]{1,17}:\S+"),
}

AUTHOR_IDS = {"ISNI": PUBLISHER_IDS["ISNI"], "ORCID": re.compile(r"\d{4}-\d{4}-\d{4}-\d{3}[\dX]")}

YOP = re.compile(r"\d{4}")
COUNTRY = re.compile(r"[A-Z]{2}")
SUBDIVISION = re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}")


def are_in(report: str, data_type: str) -> bool:
    """Whether a data type may stand in a report, by the report's first letter."""
    return report in REPORTS_OF.get(data_type, "")
