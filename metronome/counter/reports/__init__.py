"""COUNTER reports: facts in, report out. Nothing here knows HTTP or Elasticsearch.

    table.py        the sixteen reports, each a row: everything that tells one from another
    values.py       metric types, data types and attributes of the standard
    selection.py    a request's parameters: period, filters (filters.py), columns
    notices.py      the exceptions of the standard, with codes and messages
    report.py       which months there are, and the entries of a report (fold.py)
    header.py       the header
    as_json.py      the report in JSON
    tables.py       the report as rows; files.py writes them as TSV and XLSX

A Standard View is its full report with fixed filters, so both are made by the same code. All forms are written in one
pass over the entries, and no more of them than one is in memory. Source: COUNTER R5.1, sections 3, 4 and 8.
"""
