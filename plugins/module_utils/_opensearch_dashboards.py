# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Searches and dashboards of the logs, as the saved objects that OpenSearch Dashboards imports.

PRIVATE to the collection: it may change without notice.

A pure core. The shapes are those of saved objects of OpenSearch Dashboards 2: one JSON object a
line, texts of JSON inside, and references by name. UNTESTED against the real thing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

PATTERN = "infn-cloud-logs"
COLUMNS = ("cloud.region", "host.name", "service.name", "log.level", "message")
SOURCE = "kibanaSavedObjectMeta.searchSourceJSON.index"
VERSION = "2.19.0"

# In the Dashboards Query Language; the fields are those of the index template.
SEARCHES = {
    "swift": ("Swift", "service.name: swift-*"),
    "swift-trouble": (
        "Swift: warnings and errors",
        "service.name: swift-* and log.level: (warning or err or crit or alert or emerg)",
    ),
    "dns": ("Names", "service.name: (named or knotd or dns-health or dns-upkeep)"),
    "dns-trouble": (
        "Names: refusals and failures",
        "service.name: (named or knotd) and message: (refused or denied or failed or error)",
    ),
    "mail": ("Mail", "service.name: (postfix* or dovecot or rspamd)"),
    "mail-trouble": (
        "Mail: rejected, deferred, bounced",
        "service.name: postfix* and message: (reject or deferred or bounced)",
    ),
    "identity": ("Identity", "service.name: keystone"),
    "trouble": ("Whatever went wrong", "log.level: (err or crit or alert or emerg)"),
}
DASHBOARDS = {
    "swift": ("Swift", ("swift", "swift-trouble")),
    "dns": ("Names", ("dns", "dns-trouble")),
    "mail": ("Mail of services", ("mail", "mail-trouble")),
    "backbone": ("The backbone", ("trouble", "identity")),
}

Saved = dict[str, Any]


def saved_objects(index: str) -> list[Saved]:
    """All of them, each after what it refers to."""
    pattern = {"title": f"{index}-*", "timeFieldName": "@timestamp"}
    objects = [_object("index-pattern", PATTERN, pattern)]
    for name, (title, query) in SEARCHES.items():
        objects += [_search(name, title, query), _lines(name, title, query)]
    for name, (title, searches) in DASHBOARDS.items():
        objects.append(_dashboard(name, title, searches))
    return objects


def _object(kind: str, name: str, attributes: Saved, references: Sequence[Saved] = ()) -> Saved:
    return {"type": kind, "id": name, "attributes": attributes, "references": list(references)}


def _reference(name: str, kind: str, target: str) -> Saved:
    return {"name": name, "type": kind, "id": target}


def _source(query: str, **more: Any) -> Saved:
    source = {"query": {"language": "kuery", "query": query}, "filter": [], **more}
    return {"kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source)}}


def _search(name: str, title: str, query: str) -> Saved:
    attributes = {
        "title": title, "columns": list(COLUMNS), "sort": [["@timestamp", "desc"]],
        **_source(query, indexRefName=SOURCE),
    }  # fmt: skip
    reference = _reference(SOURCE, "index-pattern", PATTERN)
    return _object("search", f"{PATTERN}-{name}", attributes, [reference])


def _lines(name: str, title: str, query: str) -> Saved:
    """How many lines there were, by site, over time."""
    over = {"field": "@timestamp", "interval": "auto", "min_doc_count": 1}
    by = {"field": "cloud.region", "size": 16, "orderBy": "1", "order": "desc"}
    state = {
        "title": title, "type": "histogram", "params": {"addLegend": True, "addTooltip": True},
        "aggs": [
            {"id": "1", "enabled": True, "type": "count", "schema": "metric", "params": {}},
            {"id": "2", "enabled": True, "type": "date_histogram", "schema": "segment",
             "params": over},
            {"id": "3", "enabled": True, "type": "terms", "schema": "group", "params": by},
        ],
    }  # fmt: skip
    attributes = {
        "title": f"{title}, lines by site", "visState": json.dumps(state), "uiStateJSON": "{}",
        **_source(query, indexRefName=SOURCE),
    }  # fmt: skip
    reference = _reference(SOURCE, "index-pattern", PATTERN)
    return _object("visualization", f"{PATTERN}-{name}-lines", attributes, [reference])


def _dashboard(name: str, title: str, searches: Sequence[str]) -> Saved:
    """For each search a row: its lines over time, and the newest of them."""
    panels: list[Saved] = []
    references: list[Saved] = []
    for row, search in enumerate(searches):
        for column, (kind, suffix) in enumerate((("visualization", "-lines"), ("search", ""))):
            number = len(panels)
            place = {"x": 24 * column, "y": 15 * row, "w": 24, "h": 15, "i": str(number)}
            panels.append(
                {"panelIndex": str(number), "panelRefName": f"panel_{number}", "version": VERSION,
                 "gridData": place, "embeddableConfig": {}}
            )  # fmt: skip
            references.append(_reference(f"panel_{number}", kind, f"{PATTERN}-{search}{suffix}"))
    attributes = {
        "title": title, "panelsJSON": json.dumps(panels), "timeRestore": False,
        "optionsJSON": json.dumps({"useMargins": True}), **_source(""),
    }  # fmt: skip
    return _object("dashboard", f"{PATTERN}-{name}", attributes, references)
