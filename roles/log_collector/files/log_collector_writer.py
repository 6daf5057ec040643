# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the lines that rsyslog (omprog) hands to it into OpenSearch, and does not give up.

rsyslog's own module for it takes any answer for an answer: at one that is about the whole request
(no leader, no memory, a password that is being changed) it drops the batch (its checkResult). Here
a batch is done when the store has said of each of its lines that it has it, or never takes it.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import sys
import syslog
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

# Seconds between two tries, and between two looks whether the first store is back.
PAUSE, BETTER = 2.0, 60.0


# Names of domains, users, credentials: what has a dot or a hyphen in it. So many of a line at most.
NAME = re.compile(r"[a-z0-9_]+(?:[.-]+[a-z0-9_]+)+")
NAMES = 100


def named(document: str) -> str:
    """The same line with the names in its message as a field, for who may see lines by them."""
    try:
        fields = json.loads(document)
        found = dict.fromkeys(NAME.findall(fields["message"].lower()))
    except (ValueError, LookupError, TypeError, AttributeError):
        return document
    fields["labels.names"] = list(found)[:NAMES]
    return json.dumps(fields)


class Trouble(Exception):
    """The store does not take this request, or not now."""

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(what)
        self.status = status


class Line(NamedTuple):
    index: str
    name: str
    document: str

    @property
    def request(self) -> str:
        named = {"_id": self.name} if self.name != "-" else {}
        return json.dumps({"create": {"_index": self.index, **named}}) + f"\n{self.document}\n"


class Writer:
    def __init__(self, settings: dict[str, Any], state: Path) -> None:
        self.stores = settings["stores"]
        self.tls = ssl.create_default_context(cafile=settings["ca_file"])
        # As strict as others, not more: Python 3.13 minds what old authorities leave out.
        self.tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        login = f"{settings['user']}:{settings['password']}".encode()
        self.headers = {
            "Authorization": "Basic " + base64.b64encode(login).decode(),
            "Content-Type": "application/x-ndjson",
        }
        self.statistics, self.refused = state / "statistics.json", state / "refused.json"
        try:
            self.counts = json.loads(self.statistics.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.counts = {"written": 0, "again": 0, "refused": 0}
        self.place, self.since, self.said = 0, time.monotonic(), ""
        self.connection: http.client.HTTPSConnection | None = None

    def say(self, what: str) -> None:
        if what != self.said:
            syslog.syslog(what)
        self.said = what

    def call(self, body: bytes) -> list[dict[str, Any]]:
        """One request to the store in use; its answer for each line."""
        if self.place and time.monotonic() - self.since > BETTER:
            self.turn_to(0)
        used = self.connection is not None
        try:
            if self.connection is None:
                where = urlsplit("//" + self.stores[self.place])
                self.connection = http.client.HTTPSConnection(
                    where.hostname or "", where.port, timeout=30, context=self.tls
                )
            self.connection.request("POST", "/_bulk?timeout=15s", body=body, headers=self.headers)
            answer = self.connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise Trouble(
                    f"HTTP {answer.status} {text[:200].decode(errors='replace')}", answer.status
                )
            items: list[dict[str, Any]] = json.loads(text)["items"]
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            # One that was closed while nobody needed it says nothing about the store.
            self.turn_to(self.place)
            if used:
                return self.call(body)
            raise Trouble(f"{type(error).__name__}: {error}") from error
        return items

    def turn_to(self, place: int) -> None:
        if self.connection is not None:
            self.connection.close()
        if place != self.place:
            self.since = time.monotonic()
        self.connection, self.place = None, place

    def write(self, lines: list[Line]) -> None:
        """Return when the store has all of them, or never takes them."""
        while lines:
            try:
                lines = self.once(lines)
            except Trouble as trouble:
                self.say(f"{self.stores[self.place]} does not take lines: {trouble}")
                self.turn_to((self.place + 1) % len(self.stores))
                if self.place == 0:
                    time.sleep(PAUSE)
                continue
            if lines:
                time.sleep(PAUSE)
            else:
                self.say(f"writes to {self.stores[self.place]}")
        new = self.statistics.with_suffix(".new")
        new.write_text(json.dumps(self.counts), encoding="utf-8")
        new.replace(self.statistics)

    def once(self, lines: list[Line]) -> list[Line]:
        """Write them, and give back those that may be taken later."""
        try:
            items = self.call("".join(line.request for line in lines).encode())
        except Trouble as trouble:
            if trouble.status not in (400, 413):
                raise
            # Not the store's fault: find the line whose it is.
            if len(lines) > 1:
                half = len(lines) // 2
                return self.once(lines[:half]) + self.once(lines[half:])
            self.refuse(lines[0], str(trouble))
            return []
        if len(items) != len(lines):
            raise Trouble(f"{len(items)} answers to {len(lines)} lines")
        later = []
        for item, line in zip(items, lines):
            result = item["create"]
            status = result["status"]
            if status in (200, 201):
                self.counts["written"] += 1
            elif status == 409:
                self.counts["again"] += 1
            elif status in (401, 403, 404, 408, 429) or status >= 500:
                later.append(line)
                self.say(f"lines wait: {json.dumps(result.get('error'))[:300]}")
            else:
                self.refuse(line, result)
        return later

    def refuse(self, line: Line, answer: Any) -> None:
        self.counts["refused"] += 1
        with self.refused.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"line": line.document, "answer": answer}) + "\n")
        self.say(f"a line was refused, see {self.refused}")


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    syslog.openlog("log-collector", syslog.LOG_PID, syslog.LOG_DAEMON)
    writer = Writer(settings, Path(settings["state_directory"]))
    batch: list[Line] = []
    print("OK", flush=True)
    for data in sys.stdin.buffer:
        text = data.decode(errors="replace").rstrip("\n")
        answer = "OK"
        if text == "BEGIN TRANSACTION":
            batch = []
        elif text == "COMMIT TRANSACTION":
            writer.write(batch)
        else:
            index, name, document = text.split(" ", 2)
            batch.append(Line(index, name, named(document)))
            answer = "DEFER_COMMIT"
        print(answer, flush=True)


if __name__ == "__main__":
    main()
