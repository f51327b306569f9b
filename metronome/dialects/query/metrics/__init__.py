"""Saved things: custom metrics, external series and dashboards.

    PUT, GET, DELETE /saved/<what>/<id>          what = metrics, series, dashboards
    GET              /saved/<what>               all of them
    GET              /saved/metrics/<id>/result  the figure, in the shape of OpenMetrics
    PUT, GET, DELETE /saved/series/<id>/points   the numbers of a series

    schemas.py    what can be saved           library.py    metrics and series that a question names
    results.py    a metric's figure           imported.py   one that another server computes
    ready.py      metrics that are there from the start
    points.py     points as they are sent, page by page
    routes.py     the routes; paths.py: their description

Every change is a new version. `If-Match: "3"` changes version 3 or nothing; `If-None-Match: *` makes a new thing or
nothing. A key that is bound to an application has things of its own.
Source: query contract, section 7; openmetrics contract, section 3.5; semantics, section 8.
"""
