"""What reports call things: metric types, data types, attributes, in the order in which reports list them.

Source: COUNTER R5.1, sections 3.3 and 11.5.
"""

from __future__ import annotations

from metronome.counter.values import DATABASE_TYPES, REPORTS_OF, are_in

SEARCHES = ("Searches_Automated", "Searches_Federated", "Searches_Regular")
ITEM_REQUESTS = ("Total_Item_Requests", "Unique_Item_Requests")
ITEMS = (
    "Total_Item_Investigations",
    "Total_Item_Requests",
    "Unique_Item_Investigations",
    "Unique_Item_Requests",
)
TITLES = ("Unique_Title_Investigations", "Unique_Title_Requests")
DENIALS = ("Limit_Exceeded", "No_License")

#: The metric types of each full report.
METRICS: dict[str, tuple[str, ...]] = {
    "PR": ("Searches_Platform", *ITEMS, *TITLES),
    "DR": (*SEARCHES, *ITEMS, *TITLES, *DENIALS),
    "TR": (*ITEMS, *TITLES, *DENIALS),
    "IR": (*ITEMS, *DENIALS),
}

#: The data types of each full report. Databases have only searches and denials, the platform only searches.
DATA_TYPES: dict[str, frozenset[str]] = {
    full: frozenset((*(kind for kind in REPORTS_OF if are_in(full[0], kind)), *more))
    for full, more in {"PR": ("Platform",), "DR": DATABASE_TYPES, "TR": (), "IR": ()}.items()
}

BOOKS = ("Book", "Reference_Work")
MULTIMEDIA = ("Audiovisual", "Image", "Interactive_Resource", "Multimedia", "Sound")

ACCESS_METHODS = ("Regular", "TDM")

#: Names in reports, of what usage is told apart by, in the order of their columns. Most are fields of a Performance.
DATA_TYPE, YOP, ACCESS_TYPE, ACCESS_METHOD = "Data_Type", "YOP", "Access_Type", "Access_Method"
COUNTRY, SUBDIVISION, ATTRIBUTED = "Country_Code", "Subdivision_Code", "Attributed"
INSTITUTION, CUSTOMER = "Institution_Name", "Customer_ID"

#: Extensions of the standard that this gateway knows something of.
EXTENSIONS = (INSTITUTION, CUSTOMER, COUNTRY, SUBDIVISION, ATTRIBUTED)

#: Extensions of an institution; its columns stand before all others in tables.
OF_CUSTOMER = (INSTITUTION, CUSTOMER)

AUTHORS, PUBLICATION_DATE, ARTICLE_VERSION = "Authors", "Publication_Date", "Article_Version"

#: What is shown of an item itself rather than of its usage.
DETAILS = (AUTHORS, PUBLICATION_DATE, ARTICLE_VERSION)

PROPRIETARY, LINKING = "Proprietary", "Linking_ISSN"

#: Identifiers of an item, in the order of their columns.
IDS = ("DOI", PROPRIETARY, "ISBN", "Print_ISSN", "Online_ISSN", "URI")
