# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds lines in the log store, keeps copies of its days in object storage, deletes what is old.

logs find TEXT              lines with these words, the newest last; `"two words"` as they stand
logs find --host H --service S --level L --minutes N --json TEXT
logs backups                the days that have a copy in the object storage, and their lines
logs restore DAY …          bring them back (2026-11-27); may be called again, no line comes twice
logs forget DAY …           delete the days that were restored after their time
logs upkeep                 what its timer does: copy the days that are over, delete those over for
                            too long (and copied, where there shall be copies)
"""

from __future__ import annotations

import argparse
import base64
import datetime
import gzip
import hashlib
import itertools
import json
import ssl
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

SETTINGS = Path("/etc/opensearch")
# Lines in one request, and in one object of a copy.
PAGE, PART = 2000, 50000


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


def today() -> datetime.date:
    return datetime.datetime.now(datetime.timezone.utc).date()


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


def send(
    tls: ssl.SSLContext, method: str, url: str, headers: dict[str, str], data: bytes | None = None
) -> tuple[bytes, Any]:
    """What a server answers, and its headers."""
    request = urllib.request.Request(url, method=method, headers=headers, data=data)  # noqa: S310
    with urllib.request.urlopen(request, context=tls, timeout=60) as answer:  # noqa: S310
        return answer.read(), answer.headers


class Store:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.url = settings["url"]
        self.index = settings["index"]
        self.tls = ssl.create_default_context(cafile=settings["ca_file"])
        login = f"{settings['user']}:{settings['password']}".encode()
        self.headers = {
            "Authorization": "Basic " + base64.b64encode(login).decode(),
            "Content-Type": "application/json",
        }

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return json.loads(send(self.tls, method, self.url + path, self.headers, data)[0])

    def days(self) -> list[str]:
        """Our indices, today's too."""
        found = self.call("GET", f"/_cat/indices/{self.index}-*?format=json&h=index")
        return sorted(entry["index"] for entry in found)

    def count(self, index: str) -> int:
        """Lines of an index, or 0 if there is none."""
        self.call("POST", f"/{index}/_refresh?ignore_unavailable=true")
        return int(self.call("GET", f"/{index}/_count?ignore_unavailable=true")["count"])

    def pages(self, index: str) -> Iterator[list[dict[str, Any]]]:
        """All lines of an index."""
        body = {"size": PAGE, "sort": ["_doc"]}
        answer = self.call("POST", f"/{index}/_search?scroll=5m", body)
        try:
            while answer["hits"]["hits"]:
                if answer["_shards"]["failed"] or answer["timed_out"]:
                    raise OSError(f"{index} is not whole: {answer['_shards']}")
                yield answer["hits"]["hits"]
                body = {"scroll": "5m", "scroll_id": answer["_scroll_id"]}
                answer = self.call("POST", "/_search/scroll", body)
        finally:
            self.call("DELETE", "/_search/scroll", {"scroll_id": [answer["_scroll_id"]]})

    def add(self, index: str, lines: list[bytes]) -> int:
        """Write lines of a copy; how many were not there."""
        new = 0
        for number in range(0, len(lines), PAGE):
            request = b""
            for line in lines[number : number + PAGE]:
                name, document = json.loads(line)
                action = {"create": {"_index": index, "_id": name}}
                request += f"{json.dumps(action)}\n{json.dumps(document)}\n".encode()
            for item in self.call("POST", "/_bulk", request)["items"]:
                result = item["create"]
                if result["status"] not in (200, 201, 409):
                    raise OSError(f"{index}: {result['error']}; call it again when that is mended")
                new += result["status"] != 409
        return new


class Copies:
    """Copies of days, in a container of an object storage: DAY/LINES/part and DAY/LINES/manifest.

    The manifest is written last, so what has one is whole. A day that got lines since then has
    another copy beside it, and then loses the old one.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.tls = ssl.create_default_context(cafile=settings["ca_file"])
        self.token = self.url = ""

    def log_in(self) -> None:
        """At the first site that answers, the own one first."""
        trouble: list[str] = []
        user = {key: self.settings[key] for key in ("name", "password", "domain")}
        scope = {key: self.settings[key] for key in ("name", "domain")}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": scope}}}
        for region, url in self.settings["regions"].items():
            headers = {"Content-Type": "application/json"}
            try:
                text, said = send(
                    self.tls, "POST", f"{url}/auth/tokens", headers, json.dumps(body).encode()
                )
                (self.url,) = {
                    endpoint["url"]
                    for service in json.loads(text)["token"]["catalog"]
                    if service["type"] == "object-store"
                    for endpoint in service["endpoints"]
                    if (endpoint["region"], endpoint["interface"]) == (region, "public")
                }
                self.token = said["X-Subject-Token"]
                self.request("PUT", "")
            except (OSError, ValueError, LookupError) as error:
                trouble.append(f"{region}: {error}")
                continue
            return
        raise OSError(f"no site takes copies: {'; '.join(trouble)}")

    def request(
        self, method: str, path: str, data: bytes | None = None, **headers: str
    ) -> tuple[bytes, Any]:
        own = {"X-Auth-Token": self.token, **headers}
        return send(self.tls, method, f"{self.url}/{self.settings['container']}{path}", own, data)

    def names(self) -> list[str]:
        """All objects; a listing has 10,000 of them at most."""
        names: list[str] = []
        while True:
            marker = urllib.parse.quote(names[-1]) if names else ""
            page = json.loads(self.request("GET", f"?format=json&marker={marker}")[0])
            if not page:
                return names
            names += [entry["name"] for entry in page]

    def whole(self) -> dict[str, int]:
        """Lines of the newest whole copy of each day."""
        found: dict[str, int] = {}
        for name in self.names():
            day, lines, what = name.split("/")
            if what == "manifest.json":
                found[day] = max(found.get(day, 0), int(lines))
        return found

    def write(self, store: Store, day: str, lines: int) -> None:
        """Copy a day, and then delete what was copied of it before."""
        end = datetime.datetime.strptime(day[-10:], "%Y.%m.%d") + datetime.timedelta(days=1)
        until = int(end.replace(tzinfo=datetime.timezone.utc).timestamp())
        expires = {"X-Delete-At": str(until + 86400 * self.settings["days"])}
        parts: list[dict[str, Any]] = []
        every = itertools.chain.from_iterable(store.pages(day))
        while part := [
            json.dumps([hit["_id"], hit["_source"]]).encode()
            for hit in itertools.islice(every, PART)
        ]:
            data = gzip.compress(b"\n".join(part), mtime=0)
            name = f"{len(parts) + 1:06}.gz"
            sums = {"sha256": hashlib.sha256(data).hexdigest(), "lines": len(part)}
            md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
            self.request("PUT", f"/{day}/{lines}/{name}", data, ETag=md5, **expires)
            parts.append({"name": name, **sums})
        if sum(part["lines"] for part in parts) < lines:
            raise OSError(f"{day}: fewer lines were read than the {lines} that it has")
        manifest = json.dumps({"day": day, "parts": parts}).encode()
        self.request("PUT", f"/{day}/{lines}/manifest.json", manifest, **expires)
        for name in self.names():
            if name.startswith(f"{day}/") and not name.startswith(f"{day}/{lines}/"):
                self.request("DELETE", f"/{name}")

    def parts(self, day: str) -> Iterator[list[bytes]]:
        """The lines of a day, checked."""
        lines = self.whole().get(day)
        if lines is None:
            raise OSError(f"there is no whole copy of {day}; 'logs backups' lists what there is")
        for part in json.loads(self.request("GET", f"/{day}/{lines}/manifest.json")[0])["parts"]:
            name = f"/{day}/{lines}/{part['name']}"
            data = self.request("GET", name)[0]
            if hashlib.sha256(data).hexdigest() != part["sha256"]:
                raise OSError(f"{name} is not what was written")
            yield gzip.decompress(data).split(b"\n")


def find(settings: dict[str, Any], options: argparse.Namespace) -> None:
    store = Store(settings)
    path = f"/{store.index}-*/_search?allow_no_indices=true"
    found = store.call("POST", path, query(options))["hits"]
    if options.json:
        lines = [hit["_source"] for hit in found["hits"]]
        print(json.dumps({"total": found["total"]["value"], "lines": lines}))
        return
    for hit in reversed(found["hits"]):
        line = hit["_source"]
        print(line["@timestamp"], line["host.name"], line["service.name"], line["message"])
    if found["total"]["value"] > len(found["hits"]):
        print(f"… the newest {len(found['hits'])} of {found['total']['value']}", file=sys.stderr)


def copies_of(settings: dict[str, Any]) -> Copies:
    if not settings.get("backup"):
        sys.exit("logs: no copies are kept: elk_backup says where they shall be")
    copies = Copies(settings["backup"])
    copies.log_in()
    return copies


def upkeep(settings: dict[str, Any], _options: argparse.Namespace) -> None:
    """Of all nodes, the leader of the cluster does it."""
    store = Store(settings)
    (leader,) = store.call("GET", "/_cat/cluster_manager?format=json")
    if leader["node"] != settings["node"]:
        return
    days, trouble = store.days(), {}
    if settings.get("backup"):
        copies = copies_of(settings)
        copied = copies.whole()
        for day in too_old(days, store.index, today(), 0):
            began = time.monotonic()
            try:
                lines = store.count(day)
                if lines > copied.get(day, 0):
                    copies.write(store, day, lines)
                    print(f"copied {day}: {lines} lines in {time.monotonic() - began:.0f} s")
            except (OSError, ValueError) as error:
                trouble[day] = f"{type(error).__name__}: {error}"
    for day in too_old(days, store.index, today(), settings["retention_days"]):
        if day not in trouble:
            store.call("DELETE", f"/{day}")
            print(f"deleted {day}: older than {settings['retention_days']} days")
    if trouble:
        sys.exit(f"logs: not copied, so they stay: {trouble}")


def backups(settings: dict[str, Any], _options: argparse.Namespace) -> None:
    for day, lines in sorted(copies_of(settings).whole().items()):
        print(f"{day[-10:].replace('.', '-')} {lines:12} lines")


def restore(settings: dict[str, Any], options: argparse.Namespace) -> None:
    """A day whose time is over gets a name that upkeep does not delete."""
    store, copies = Store(settings), copies_of(settings)
    for wish in options.day:
        day = f"{store.index}-{wish:%Y.%m.%d}"
        index = day
        if too_old([day], store.index, today(), settings["retention_days"]):
            index = f"{store.index}-restored-{wish:%Y.%m.%d}"
        count = new = 0
        for part in copies.parts(day):
            new += store.add(index, part)
            count += len(part)
            print(f"{wish}: {count} lines", flush=True)
        if store.count(index) < count:
            sys.exit(f"logs: {index} has fewer lines than its copy, {count}")
        print(f"{wish}: {count} lines are in {index}, {new} of them were not there")


def forget(settings: dict[str, Any], options: argparse.Namespace) -> None:
    store = Store(settings)
    for wish in options.day:
        store.call("DELETE", f"/{store.index}-restored-{wish:%Y.%m.%d}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    does = parser.add_subparsers(dest="does", required=True)
    for each in (upkeep, backups, restore, forget):
        command = does.add_parser(each.__name__)
        command.set_defaults(run=each, settings="upkeep")
        if each in (restore, forget):
            command.add_argument("day", nargs="+", type=datetime.date.fromisoformat)
    search = does.add_parser("find")
    search.set_defaults(run=find, settings="reader")
    for name in ("host", "service", "level"):
        search.add_argument(f"--{name}")
    search.add_argument("--minutes", type=int, help="not older")
    search.add_argument("--lines", type=int, default=100, help="so many at most")
    search.add_argument("--json", action="store_true")
    search.add_argument("text", nargs="?")
    options = parser.parse_args()
    try:
        path = SETTINGS / f"{options.settings}.json"
        options.run(json.loads(path.read_text(encoding="utf-8")), options)
    except HTTPError as error:
        said = error.read().decode(errors="replace")[:300]
        sys.exit(f"logs: {error.url} refused: HTTP {error.code} {said}")
    except (URLError, OSError) as error:
        sys.exit(f"logs: {error}; see 'journalctl -u opensearch'")


if __name__ == "__main__":
    main()
