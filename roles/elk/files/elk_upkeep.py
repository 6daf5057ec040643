#!/usr/bin/python3
# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletes the indices of days that are too old; of all nodes, the leader of the cluster does."""

from __future__ import annotations

import base64
import datetime
import json
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import Any


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


class Store:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.url = settings["url"]
        self.tls = ssl.create_default_context(cafile=settings["ca_file"])
        login = f"{settings['user']}:{settings['password']}".encode()
        self.headers = {"Authorization": "Basic " + base64.b64encode(login).decode()}

    def call(self, method: str, path: str) -> Any:
        request = urllib.request.Request(self.url + path, method=method, headers=self.headers)  # noqa: S310
        with urllib.request.urlopen(request, context=self.tls, timeout=60) as answer:  # noqa: S310
            return json.load(answer)


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
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


if __name__ == "__main__":
    main()
