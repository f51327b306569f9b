"""The dashboard as Kibana's saved objects, in the form of an export: one JSON object a line.

Kibana refuses an object whose `typeMigrationVersion` is newer than its own, and brings an older one up to date. So
VERSIONS are old ones, which every Kibana from 8.9 on takes. Ids of other objects stand in `references` alone, each
under a name that the chart or dashboard uses; there Kibana rewrites them if it has to.
"""

from __future__ import annotations

import json
from typing import Any

from metronome.kibana.charts import CHARTS, Chart
from metronome.settings import Settings
from metronome.store.names import pattern, template_name

#: Changes when the objects do; in the dashboard's description.
RELEASE = 1

VERSIONS = {"index-pattern": "8.0.0", "lens": "8.9.0", "dashboard": "8.9.0"}

CORE_VERSION = "8.8.0"

_LAYER = "events"
_WIDTH = 48

Json = dict[str, Any]


def export(settings: Settings) -> str:
    """All objects, each after those that it refers to, as the text of an export file."""
    return "".join(json.dumps(one, sort_keys=True) + "\n" for one in objects(settings))


def objects(settings: Settings) -> list[Json]:
    base = template_name(settings)  # each index prefix has objects of its own
    return [_data_view(base, settings), *(_lens(base, chart) for chart in CHARTS), _dashboard(base)]


def _saved(kind: str, name: str, attributes: Json, references: list[Json]) -> Json:
    return {
        "attributes": attributes,
        "coreMigrationVersion": CORE_VERSION,
        "id": name,
        "managed": False,
        "references": references,
        "type": kind,
        "typeMigrationVersion": VERSIONS[kind],
    }


def _data_view(base: str, settings: Settings) -> Json:
    attributes = {
        "title": pattern(settings),
        "name": f"Events ({pattern(settings)})",
        "timeFieldName": "@timestamp",
        "fields": "[]",
        "fieldAttrs": "{}",
        "fieldFormatMap": "{}",
        "runtimeFieldMap": "{}",
        "sourceFilters": "[]",
        "typeMeta": "{}",
    }
    return _saved("index-pattern", base, attributes, [])


def _lens(base: str, chart: Chart) -> Json:
    columns = _columns(chart)
    layer = {"columnOrder": list(columns), "columns": columns, "incompleteColumns": {}, "sampling": 1}
    state = {
        "adHocDataViews": {},
        "datasourceStates": {"formBased": {"layers": {_LAYER: layer}}},
        "filters": [],
        "internalReferences": [],
        "query": {"language": "kuery", "query": chart.query},
        "visualization": _visualization(chart),
    }
    kinds = {"number": "lnsMetric", "time": "lnsXY", "table": "lnsDatatable"}
    attributes = {"title": chart.title, "description": "", "visualizationType": kinds[chart.kind], "state": state}
    references = [{"id": base, "name": f"indexpattern-datasource-layer-{_LAYER}", "type": "index-pattern"}]
    return _saved("lens", f"{base}-{chart.name}", attributes, references)


def _columns(chart: Chart) -> Json:
    columns: Json = {}
    if chart.by:
        columns["by"] = {
            "label": f"Top values of {chart.by}",
            "dataType": "number" if chart.by == "status" else "string",
            "operationType": "terms",
            "scale": "ordinal",
            "sourceField": chart.by,
            "isBucketed": True,
            "params": {
                "size": 10 if chart.kind == "time" else 50,
                "orderBy": {"type": "column", "columnId": "count"},
                "orderDirection": "desc",
                "otherBucket": True,
                "missingBucket": False,
                "parentFormat": {"id": "terms"},
            },
        }
    if chart.kind == "time":
        columns["time"] = {
            "label": "@timestamp",
            "dataType": "date",
            "operationType": "date_histogram",
            "scale": "interval",
            "sourceField": "@timestamp",
            "isBucketed": True,
            "params": {"interval": "auto", "includeEmptyRows": True, "dropPartials": False},
        }
    columns["count"] = {
        "label": "Events",
        "customLabel": True,
        "dataType": "number",
        "operationType": "count",
        "scale": "ratio",
        "sourceField": "___records___",
        "isBucketed": False,
        "params": {"emptyAsNull": False},
    }
    return columns


def _visualization(chart: Chart) -> Json:
    if chart.kind == "number":
        return {"layerId": _LAYER, "layerType": "data", "metricAccessor": "count"}
    if chart.kind == "table":
        columns = [{"columnId": "by"}, {"columnId": "count"}]
        return {"layerId": _LAYER, "layerType": "data", "columns": columns}
    layer: Json = {"layerId": _LAYER, "layerType": "data", "seriesType": "bar_stacked"}
    layer |= {"xAccessor": "time", "accessors": ["count"], **({"splitAccessor": "by"} if chart.by else {})}
    return {
        "layers": [layer],
        "legend": {"isVisible": bool(chart.by), "position": "right"},
        "preferredSeriesType": "bar_stacked",
        "valueLabels": "hide",
    }


def _dashboard(base: str) -> Json:
    panels = [_panel(number, place) for number, place in enumerate(_places(), 1)]
    references = [
        {"id": f"{base}-{chart.name}", "name": f"{number}:panel_{number}", "type": "lens"}
        for number, chart in enumerate(CHARTS, 1)
    ]
    everything = {"query": {"language": "kuery", "query": ""}, "filter": []}
    attributes = {
        "title": "Usage events",
        "description": f"Views, downloads, referers, errors, shippers, robots. By Metronome, release {RELEASE}.",
        "kibanaSavedObjectMeta": {"searchSourceJSON": _text(everything)},
        "optionsJSON": _text({"hidePanelTitles": False, "syncColors": False, "syncCursor": True, "useMargins": True}),
        "panelsJSON": _text(panels),
        "refreshInterval": {"pause": True, "value": 60000},
        "timeFrom": "now-30d",
        "timeRestore": True,
        "timeTo": "now",
        "version": 1,
    }
    return _saved("dashboard", f"{base}-dashboard", attributes, references)


def _places() -> list[Json]:
    """Where each chart stands: from left to right, and a new row where the next one doesn't fit."""
    places, x, y, height = [], 0, 0, 0
    for chart in CHARTS:
        if x + chart.size[0] > _WIDTH:
            x, y = 0, y + height
        places.append({"x": x, "y": y, "w": chart.size[0], "h": chart.size[1]})
        x, height = x + chart.size[0], chart.size[1]
    return places


def _panel(number: int, place: Json) -> Json:
    return {
        "type": "lens",
        "panelIndex": str(number),
        "gridData": {**place, "i": str(number)},
        "embeddableConfig": {"enhancements": {}},
        "panelRefName": f"panel_{number}",
    }


def _text(value: Any) -> str:
    """JSON inside JSON, as Kibana keeps some attributes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
