# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a client of the load behaves when sites fail. The servers are fakes that fail on demand."""

from __future__ import annotations

import http.client
import io
import json
import random
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible_collections.infn.cloud.plugins.module_utils import _load_client as load
from ansible_collections.infn.cloud.plugins.module_utils._load_journal import judge, read_journal


class Fake(ThreadingHTTPServer):
    """Keystone and object store of one site, with a switch for each fault."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.status = 0
        self.spoil: dict[str, bytes] = {}
        self.cut = False
        self.logins = 0
        self.valid = {"token"}
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.all: list[Fake] = []


class Handler(BaseHTTPRequestHandler):
    server: Fake

    def log_message(self, *_args) -> None:
        pass

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.cut:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.path.endswith("/auth/tokens"):
            self.server.logins += 1
            token = f"token{self.server.logins}"
            self.server.valid = {token}
            endpoints = [
                {"region_id": f"r{number}", "interface": "public", "url": f"{fake.url}/v1/AUTH_a"}
                for number, fake in enumerate(self.server.all)
            ]
            said = {
                "issued_at": "2026-11-23T10:00:00.000000Z",
                "expires_at": "2026-11-23T11:00:00.000000Z",
                "catalog": [{"type": "object-store", "endpoints": endpoints}],
            }
            self.say(201, json.dumps({"token": said}).encode(), X_Subject_Token=token)
        elif self.headers["X-Auth-Token"] not in self.server.all[0].valid:
            self.say(401)
        elif self.server.status:
            self.say(self.server.status)
        elif self.command == "PUT":
            self.server.objects[self.path] = body
            self.say(201, Etag=load.md5_of(body))
        elif self.path not in self.server.objects:
            self.say(404)
        else:
            body = self.server.objects[self.path]
            self.say(200, self.server.spoil.get(self.path, body), Etag=load.md5_of(body))

    do_GET = do_PUT = do_POST = handle_any


@pytest.fixture
def fakes() -> Iterator[list[Fake]]:
    servers = [Fake(), Fake()]
    for server in servers:
        # One store behind both, as in a federation.
        server.all, server.objects = servers, servers[0].objects
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def params(fakes) -> dict:
    auth = {"username": "u", "password": "p", "project_name": "p", "cacert": None}
    auth |= {"user_domain_name": "Default", "project_domain_name": "Default"}
    sites = [{"region": f"r{n}", "auth_url": f"{fake.url}/v3"} for n, fake in enumerate(fakes)]
    return {"auth": auth, "sites": sites, "timeout": 2.0}


class Session:
    """A client, and what it wrote down."""

    def __init__(self, params: dict) -> None:
        self.file = io.StringIO()
        self.file.fileno = lambda: 0  # type: ignore[method-assign]
        self.store = load.Store(params)
        self.pen = load.Writer(self.file)
        self.known = load.Known()
        self.client = load.Client(self.store, self.store.sites[0], "c", self.pen)
        self.pen.note("begin", account="AUTH_a", container="c", sites=["r0", "r1"])

    @property
    def journal(self):
        return read_journal(self.file.getvalue().splitlines())

    @property
    def seen(self) -> list[tuple[str, str, str | None]]:
        return [(one.op, one.site, one.failure) for one in self.journal.attempts]


@pytest.fixture
def session(params, monkeypatch) -> Session:
    monkeypatch.setattr(load.os, "fsync", lambda _fd: None)
    return Session(params)


def test_an_acknowledged_write_is_on_record_and_read_back(session, params) -> None:
    session.client.write("o", b"content", session.known)
    session.client.read("o", load.hashlib.sha256(b"content").hexdigest())
    assert session.seen == [("PUT", "r0", None), ("GET", "r0", None)]
    books = session.journal
    assert books.acknowledged["o"].md5 == load.md5_of(b"content")
    readings = load.read_back(params, books, tries=1)
    assert judge(books.acknowledged, readings, ["r0", "r1"])["lost"] == 0
    assert len(readings) == 2


def test_a_failed_site_is_left_for_a_while(session, fakes, monkeypatch) -> None:
    fakes[0].status = 503
    session.client.write("a", b"a", session.known)
    session.client.write("b", b"b", session.known)
    fakes[0].status = 0
    monkeypatch.setattr(load, "AWAY", 0.0)
    session.client._away.clear()
    session.client.write("c", b"c", session.known)
    assert session.seen == [
        ("PUT", "r0", "HTTP 503"), ("PUT", "r1", None), ("PUT", "r1", None), ("PUT", "r0", None),
    ]  # fmt: skip
    assert sorted(session.journal.acknowledged) == ["a", "b", "c"]


def test_what_no_site_took_is_not_acknowledged(session, fakes) -> None:
    fakes[0].status, fakes[1].cut = 503, True
    session.client.write("a", b"a", session.known)
    assert session.seen == [("PUT", "r0", "HTTP 503"), ("PUT", "r1", "cut off")]
    assert not session.journal.acknowledged and len(session.known) == 0
    assert [one.failure for one in session.journal.gave_up] == ["cut off"]


def test_a_checksum_that_does_not_fit_is_a_failure_to_retry(session, fakes, params) -> None:
    session.client.write("a", b"abc", session.known)
    fakes[0].spoil["/v1/AUTH_a/c/a"] = b"xyz"
    session.client.read("a", load.hashlib.sha256(b"abc").hexdigest())
    assert session.seen[1:] == [("GET", "r0", "checksum"), ("GET", "r1", None)]
    books = session.journal
    found = judge(books.acknowledged, load.read_back(params, books, tries=2, pause=0), ["r0", "r1"])
    assert (found["corrupted"], found["corrupted_objects"]) == (1, ["a through r0: checksum"])


def test_other_content_with_a_right_checksum_is_found(session, fakes, params) -> None:
    session.client.write("a", b"abc", session.known)
    fakes[0].objects["/v1/AUTH_a/c/a"] = b"xyz"
    session.client.read("a", load.hashlib.sha256(b"abc").hexdigest())
    assert session.journal.faults == ["a: read other bytes through r0"]
    books = session.journal
    found = judge(books.acknowledged, load.read_back(params, books, tries=1), ["r0", "r1"])
    assert found["corrupted"] == 1


def test_what_was_erased_is_lost(session, fakes, params) -> None:
    session.client.write("a", b"abc", session.known)
    session.client.write("b", b"abc", session.known)
    del fakes[0].objects["/v1/AUTH_a/c/a"]
    books = session.journal
    found = judge(books.acknowledged, load.read_back(params, books, tries=1), ["r0", "r1"])
    assert (found["lost"], found["corrupted"], found["unreadable"]) == (1, 0, 0)


def test_a_token_that_is_refused_is_replaced(session, fakes) -> None:
    fakes[0].valid = set()
    session.client.write("a", b"a", session.known)
    assert session.seen == [("PUT", "r0", None)]
    assert fakes[0].logins == 2


def test_nobody_lets_the_user_in(fakes, params) -> None:
    for fake in fakes:
        fake.cut = True
    with pytest.raises(load.LoadError, match="user u of project p cannot log in at any of r0, r1"):
        load.Store(params)


def test_sizes_stay_within_bounds() -> None:
    dice = random.Random(1)
    sizes = [load.size_of(dice, 1024, 1048576) for _number in range(500)]
    assert min(sizes) >= 1024 and max(sizes) <= 1048576
    assert 0.3 < sum(size < 32768 for size in sizes) / 500 < 0.7


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (socket.timeout("timed out"), "timeout"),
        (ConnectionRefusedError(111, "Connection refused"), "refused"),
        (http.client.RemoteDisconnected("gone"), "cut off"),
        (OSError(113, "No route to host"), "no route to host"),
    ],
)
def test_failures_have_a_kind(error, kind) -> None:
    assert load.kind_of(error) == kind
