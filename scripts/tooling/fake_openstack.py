# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A FAKE OpenStack on loopback: for faults, and sizes, that no real cloud produces on demand.

Whether the inventory understands a real Keystone, Nova and Glance is not tested with it. It knows
logging in, listing projects, servers and images, and how to do each of these wrongly:
hang, drip, reset, refuse, ask for patience, break off, send a login page, lie about pages.

  python -m tooling.fake_openstack --sites 4 --servers 100 --delay 2

prints one JSON line with the addresses, and serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import email.utils
import json
import socket
import struct
import sys
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PASSWORD = "correct horse"  # noqa: S105 (of nothing but the fake)
# A fault, and after how many good answers of that service it begins.
Fault = tuple[str, int]


def server_of(number: int, project: str, image: str, **more: Any) -> dict[str, Any]:
    """A server as Nova 2.69 lists it."""
    id_ = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{project}/{number}"))
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return {
        "id": id_,
        "name": f"vm{number}",
        "status": "ACTIVE",
        "tenant_id": project,
        "user_id": "u1",
        "created": "2026-01-31T12:00:00Z",
        "updated": "2026-01-31T12:00:00Z",
        "metadata": {"role": ("web", "db", "worker")[number % 3]},
        "image": {"id": image},
        "flavor": {
            "original_name": ("small", "medium", "large")[number % 3],
            "vcpus": 2, "ram": 4096, "disk": 20, "ephemeral": 0, "swap": 0, "extra_specs": {},
        },
        "addresses": {
            "private": [{
                "version": 4, "addr": address, "OS-EXT-IPS:type": "fixed",
                "OS-EXT-IPS-MAC:mac_addr": "fa:16:3e:00:00:01",
            }],
        },
        "OS-EXT-AZ:availability_zone": ("nova", "gpu")[number % 2],
        "OS-EXT-STS:vm_state": "active",
        "key_name": "admin",
        "tags": [],
        "links": [],
        "accessIPv4": "",
        "accessIPv6": "",
        "security_groups": [{"name": "default"}],
        "os-extended-volumes:volumes_attached": [],
    } | more  # fmt: skip


class FakeCloud:
    """One cloud. faults: service (auth, projects, servers, images) to what goes wrong there."""

    def __init__(
        self, servers: dict[str, list[dict[str, Any]]], *, delay: float = 0.0, page: int = 1000
    ) -> None:
        self.servers = servers
        self.images = {
            server["image"]["id"]: f"image {server['image']['id'][:8]}"
            for listed in servers.values()
            for server in listed
            if isinstance(server.get("image"), dict)
        }
        self.delay = delay
        self.page = page
        self.faults: dict[str, Fault] = {}
        self.good: dict[str, int] = {}
        self.requests: list[str] = []
        self._pages: dict[tuple[str, str, int], bytes] = {}
        self._httpd = _Server(("127.0.0.1", 0), _handler(self))
        self._httpd.daemon_threads = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._httpd.serve_forever, daemon=True)

    def __enter__(self) -> FakeCloud:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._httpd.shutdown()
        self._httpd.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._httpd.server_address[1]}"

    def wait(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def catalog(self) -> list[dict[str, Any]]:
        def service(kind: str, path: str) -> dict[str, Any]:
            return {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [
                    {
                        "id": f"{kind}-{interface}",
                        "interface": interface,
                        "region": "RegionOne",
                        "region_id": "RegionOne",
                        "url": f"{self.url}{path}",
                    }
                    for interface in ("public", "internal", "admin")
                ],
            }

        return [
            service("identity", "/v3"),
            service("compute", "/compute/v2.1"),
            service("image", "/image"),
        ]

    def listing(self, project: str, marker: str, limit: int) -> bytes:
        key = (project, marker, limit)
        if key not in self._pages:
            listed = self.servers[project]
            start = 0
            if marker:
                start = 1 + next(n for n, one in enumerate(listed) if one["id"] == marker)
            shown = listed[start : start + min(limit, self.page)]
            answer: dict[str, Any] = {"servers": shown}
            if start + len(shown) < len(listed):
                # As behind a proxy that Nova does not know of: nobody may follow this.
                href = f"http://nova.invalid/servers/detail?marker={shown[-1]['id']}"
                answer["servers_links"] = [{"rel": "next", "href": href}]
            self._pages[key] = json.dumps(answer).encode()
        return self._pages[key]


class _Server(ThreadingHTTPServer):
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone in the middle is what the deadlines are for."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _handler(cloud: FakeCloud) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        fake = cloud

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeCloud

    def log_message(self, format: str, *args: Any) -> None:
        """Not a word."""

    def do_GET(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def _route(self) -> None:
        cloud = self.fake
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        path = urllib.parse.urlsplit(self.path).path.rstrip("/")
        cloud.requests.append(f"{self.command} {path}")
        if cloud.delay and path.endswith("/servers/detail"):
            cloud.wait(cloud.delay)
        if path.endswith(("/auth/tokens", "/auth")):
            self._serve("auth", lambda: self._login(path, body))
        elif path.endswith("/auth/projects"):
            self._serve("projects", self._projects)
        elif path.endswith("/servers/detail"):
            self._serve("servers", self._servers)
        elif path.endswith("/images"):
            self._serve("images", self._images)
        elif path.startswith("/compute"):
            version = {"id": "v2.1", "status": "CURRENT", "version": "2.95", "min_version": "2.1"}
            self._version(version, f"{cloud.url}/compute/v2.1/")
        elif path.startswith("/image"):
            self._version({"id": "v2.9", "status": "CURRENT"}, f"{cloud.url}/image/v2/")
        else:
            self._version({"id": "v3.14", "status": "stable"}, f"{cloud.url}/v3/")

    def _version(self, version: dict[str, Any], url: str) -> None:
        found = version | {"links": [{"rel": "self", "href": url}]}
        one = "v3" in url and self.path.rstrip("/").endswith("/v3")
        one = one or self.path.rstrip("/").endswith("/v2.1")
        self._send(200, {"version": found} if one else {"versions": [found]})

    def _serve(self, service: str, answer: Any) -> None:
        fault, after = self.fake.faults.get(service, ("", 0))
        if fault and self.fake.good.get(service, 0) >= after:
            self._fail(service, fault, answer)
            return
        self.fake.good[service] = self.fake.good.get(service, 0) + 1
        answer()

    def _fail(self, service: str, fault: str, answer: Any) -> None:
        if fault == "hang":
            self.fake.wait(600)
            self.close_connection = True
        elif fault == "drip":
            self._start(200, "application/json", 1 << 20)
            for _second in range(600):
                self.wfile.write(b" ")
                self.wfile.flush()
                self.fake.wait(0.2)
        elif fault == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
        elif fault == "once 429":
            del self.fake.faults[service]
            self._send(429, {}, {"Retry-After": "1"})
        elif fault == "once 503":
            del self.fake.faults[service]
            when = email.utils.formatdate(time.time() + 1.5, usegmt=True)
            self._send(503, {}, {"Retry-After": when})
        elif fault == "429":
            self._send(429, {}, {"Retry-After": "3600"})
        elif fault.isdigit():
            self._send(int(fault), {"error": {"message": "so it is", "code": int(fault)}})
        elif fault == "truncated":
            text = b'{"servers": [{"id": "'
            self._start(200, "application/json", 5000)
            self.wfile.write(text)
            self.close_connection = True
        elif fault == "short":  # a length that is right, of JSON that is not
            self._raw(200, b'{"servers": [{"id": ', "application/json")
        elif fault == "shape":
            self._send(200, {"serverz": []} if service != "auth" else {"token": {"a": 1}})
        elif fault == "html":
            self._raw(200, b"<html><form action=login></form></html>", "text/html")
        elif fault == "redirect":
            self._send(302, {}, {"Location": "https://login.example.org/?next=keystone"})
        elif fault == "same page":
            self._page(again=True)
        elif fault == "nothing more":
            page = {"servers": [], "servers_links": [{"rel": "next", "href": "x"}]}
            self._send(200, page)
        elif fault == "cell down":
            page = json.loads(self._listing())
            page["servers"][-1] = {"id": page["servers"][-1]["id"], "status": "UNKNOWN"}
            self._send(200, page)
        elif fault == "skewed":
            self.fake.faults.pop(service)
            answer()
        else:
            raise ValueError(f"no such fault: {fault}")

    # --- what a cloud does ----------------------------------------------------------------------

    def _login(self, path: str, body: dict[str, Any]) -> None:
        cloud = self.fake
        identity = body.get("auth", {}).get("identity", {})
        scope = body.get("auth", {}).get("scope")
        project = None
        if path.endswith("/auth"):
            good = self.headers.get("Authorization") == f"Bearer {PASSWORD}"
        elif "application_credential" in identity:
            good = identity["application_credential"]["secret"] == PASSWORD
            project = sorted(cloud.servers)[0]
        elif "token" in identity:
            good = identity["token"]["id"].startswith("token:")
        else:
            good = identity.get("password", {}).get("user", {}).get("password") == PASSWORD
        if isinstance(scope, dict):
            wanted = scope.get("project", {})
            name = wanted.get("id") or wanted.get("name")
            good = good and name in cloud.servers
            project = name
        if not good:
            self._send(401, {"error": {"message": "wrong", "code": 401, "title": "Unauthorized"}})
            return
        token: dict[str, Any] = {
            "methods": ["password"],
            "user": {"id": "u1", "name": "reader", "domain": {"id": "d", "name": "Default"}},
            "issued_at": "2026-01-31T12:00:00.000000Z",
            "expires_at": "2020-01-01T00:00:00.000000Z",  # by a clock that is years behind
            "audit_ids": ["a"],
        }
        if project is not None:
            domain = {"id": "d", "name": "Default"}
            token["project"] = {"id": project, "name": f"team-{project}", "domain": domain}
            token["catalog"] = cloud.catalog()
            token["roles"] = [{"id": "r", "name": "reader"}]
        self._send(201, {"token": token}, {"X-Subject-Token": f"token:{project or ''}"})

    def _projects(self) -> None:
        listed = [
            {"id": name, "name": f"team-{name}", "enabled": True}
            for name in sorted(self.fake.servers, reverse=True)
        ]
        self._send(200, {"projects": listed, "links": {"next": None}})

    def _servers(self) -> None:
        if not (self.headers.get("OpenStack-API-Version") or "").startswith("compute 2."):
            self._send(400, {"error": "no microversion"})
            return
        self._page(again=False)

    def _page(self, *, again: bool) -> None:
        self._raw(200, self._listing(again=again), "application/json")

    def _listing(self, *, again: bool = False) -> bytes:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        project = (self.headers.get("X-Auth-Token") or "").removeprefix("token:")
        marker = "" if again else query.get("marker", "")
        return self.fake.listing(project, marker, int(query.get("limit", 1000)))

    def _images(self) -> None:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        wanted = query.get("id", "").removeprefix("in:").split(",")
        listed = [
            {"id": id_, "name": name, "status": "active", "visibility": "public"}
            for id_, name in self.fake.images.items()
            if not query.get("id") or id_ in wanted
        ]
        self._send(200, {"images": listed})

    # --- writing --------------------------------------------------------------------------------

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._raw(status, json.dumps(body).encode(), "application/json", headers)

    def _raw(
        self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None
    ) -> None:
        self._start(status, kind, len(body), headers)
        self.wfile.write(body)

    def _start(
        self, status: int, kind: str, length: int, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()


def cloud_of(servers: int, *, project: str = "p1", delay: float = 0.0) -> FakeCloud:
    image = str(uuid.uuid5(uuid.NAMESPACE_URL, "image"))
    listed = {project: [server_of(number, project, image) for number in range(servers)]}
    return FakeCloud(listed, delay=delay)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=1)
    parser.add_argument("--servers", type=int, default=10)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before servers come")
    parser.add_argument("--dead", type=int, default=0, help="how many of the sites hang instead")
    arguments = parser.parse_args()
    clouds = [
        cloud_of(arguments.servers, delay=arguments.delay) for _site in range(arguments.sites)
    ]
    for number, cloud in enumerate(clouds):
        cloud.__enter__()
        if number < arguments.dead:
            cloud.faults["servers"] = ("hang", 0)
        for marker in range(0, arguments.servers, cloud.page):  # made before anybody measures
            listed = cloud.servers["p1"]
            cloud.listing("p1", listed[marker - 1]["id"] if marker else "", cloud.page)
    print(json.dumps([cloud.url for cloud in clouds]), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
