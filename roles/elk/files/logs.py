#!/usr/bin/python3
# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds lines in the log store, and deletes what is too old.

logs find TEXT              lines with these words, the newest last; `"two words"` as they stand
logs find --host H --service S --level L --minutes N --json TEXT
logs upkeep                 what its timer does: delete the days that are over for too long
"""

from __future__ import annotations

import argparse
import base64
import datetime
import json
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

SETTINGS = Path("/etc/opensearch")


def too_old(names: list[str], index: str, today: datetime.date, days: int) -> list[str]:
    """Those of our daily indices whose day has been over for so many days."""
    last = today - datetime.timedelta(days=days)
    old = []
    for name in names:
        try:
            day = datetime.datetime.strptime(name, f"{index}-%Y.%m.%d").date()
        except ValueError:
            continue
        if day < last:
            old.append(name)
    return sorted(old)


def query(options: argparse.Namespace) -> dict[str, Any]:
    """What OpenSearch is asked for."""
    terms = {
        "host.name": options.host,
        "service.name": options.service,
        "log.level": options.level,
    }
    wanted: list[dict[str, Any]] = [
        {"term": {name: value}} for name, value in terms.items() if value
    ]
    if options.minutes:
        wanted.append({"range": {"@timestamp": {"gte": f"now-{options.minutes}m"}}})
    if options.text:
        wanted.append(
            {"simple_query_string": {"query": options.text, "fields": ["message"],
                                     "default_operator": "and"}}
        )  # fmt: skip
    return {
        "size": options.lines,
        "track_total_hits": True,
        "sort": [{"@timestamp": "desc"}],
        "query": {"bool": {"filter": wanted}},
    }


class Store:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.url = settings["url"]
        self.tls = ssl.create_default_context(cafile=settings["ca_file"])
        login = f"{settings['user']}:{settings['password']}".encode()
        self.headers = {
            "Authorization": "Basic " + base64.b64encode(login).decode(),
            "Content-Type": "application/json",
        }

    def call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(  # noqa: S310
            self.url + path,
            method=method,
            headers=self.headers,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, context=self.tls, timeout=60) as answer:  # noqa: S310
            return json.load(answer)


def find(settings: dict[str, Any], options: argparse.Namespace) -> None:
    path = f"/{settings['index']}-*/_search?allow_no_indices=true"
    found = Store(settings).call("POST", path, query(options))["hits"]
    if options.json:
        lines = [hit["_source"] for hit in found["hits"]]
        print(json.dumps({"total": found["total"]["value"], "lines": lines}))
        return
    for hit in reversed(found["hits"]):
        line = hit["_source"]
        print(line["@timestamp"], line["host.name"], line["service.name"], line["message"])
    if found["total"]["value"] > len(found["hits"]):
        print(f"… the newest {len(found['hits'])} of {found['total']['value']}", file=sys.stderr)


def upkeep(settings: dict[str, Any]) -> None:
    """Of all nodes, the leader of the cluster does it."""
    store = Store(settings)
    (leader,) = store.call("GET", "/_cat/cluster_manager?format=json")
    if leader["node"] != settings["node"]:
        return
    indices = store.call("GET", f"/_cat/indices/{settings['index']}-*?format=json&h=index")
    today = datetime.datetime.now(datetime.timezone.utc).date()
    names = [entry["index"] for entry in indices]
    for name in too_old(names, settings["index"], today, settings["retention_days"]):
        store.call("DELETE", f"/{name}")
        print(f"deleted {name}: older than {settings['retention_days']} days")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    does = parser.add_subparsers(dest="does", required=True)
    does.add_parser("upkeep")
    search = does.add_parser("find")
    for name in ("host", "service", "level"):
        search.add_argument(f"--{name}")
    search.add_argument("--minutes", type=int, help="not older")
    search.add_argument("--lines", type=int, default=100, help="so many at most")
    search.add_argument("--json", action="store_true")
    search.add_argument("text", nargs="?")
    options = parser.parse_args()
    who = "upkeep" if options.does == "upkeep" else "reader"
    try:
        settings = json.loads((SETTINGS / f"{who}.json").read_text(encoding="utf-8"))
        upkeep(settings) if options.does == "upkeep" else find(settings, options)
    except HTTPError as error:
        sys.exit(f"logs: the store refused: HTTP {error.code} {error.read().decode()[:300]}")
    except (URLError, OSError) as error:
        sys.exit(f"logs: {error}; see 'journalctl -u opensearch'")


if __name__ == "__main__":
    main()
