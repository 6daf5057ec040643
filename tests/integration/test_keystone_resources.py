# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against a real Keystone.

The tests run in their order: each leaves to the next what it made.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openstack_servers import ADMIN_PASSWORD, ROOT, Keystone


@pytest.fixture(scope="module")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    pytest.importorskip("keystoneauth1", reason="the module needs keystoneauth1")
    server = Keystone(tmp_path_factory.mktemp("keystone"))
    try:
        yield server
    finally:
        server.stop()


def call(server: Keystone | str, *, check: bool = False, **wish: Any) -> Any:
    """Run the module as a person would, and return its result."""
    url = server if isinstance(server, str) else server.url
    auth = {
        "auth_url": url,
        "username": "admin",
        "password": ADMIN_PASSWORD,
        "project_name": "admin",
        **wish.pop("auth", {}),
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE")}
    environment.update(
        ANSIBLE_CONFIG=str(ROOT / "tests" / "integration" / "no-such-ansible.cfg"),
        ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".cache" / "collections"),
        ANSIBLE_NOCOLOR="true",
        LC_ALL="C.UTF-8",
    )
    arguments = json.dumps({"auth": auth, **wish})
    command = [sys.executable, "-m", "ansible.cli.adhoc", "localhost", "-c", "local"]
    command += ["-e", json.dumps({"ansible_python_interpreter": sys.executable})]
    command += ["-m", "infn.cloud.keystone_resources", "-a", arguments]
    command += ["--check"] if check else []
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert "=> {" in done.stdout, done.stdout + done.stderr
    result = json.loads("{" + done.stdout.split("=> {", 1)[1])
    result["failed"] = "FAILED! =>" in done.stdout
    assert "secret" not in done.stdout, "a password is in the result"
    assert "Traceback" not in done.stdout
    return result


def operations(result: Any) -> list[str]:
    assert not result["failed"], result
    assert result["changed"] == bool(result["operations"])
    return [f"{one['action']} {one['kind']} {one['name']}" for one in result["operations"]]


SWIFT_PASSWORD = "s3cret-of-swift"
URL = "http://swift.bari.example/v1/AUTH_%(tenant_id)s"
WISH: dict[str, Any] = {
    "regions": [{"id": "bari", "parent": "italy", "description": "Bari"}, {"id": "italy"}],
    "domains": [{"name": "users"}],
    "roles": [{"name": "swiftoperator"}],
    "projects": [{"name": "service"}, {"name": "p1", "domain": "users", "description": "First"}],
    "users": [
        {"name": "swift", "password": SWIFT_PASSWORD, "default_project": "service"},
        {"name": "anna", "domain": "users", "email": "anna@users.example"},
    ],
    "groups": [{"name": "staff", "domain": "users"}],
    "services": [{"type": "object-store", "name": "swift"}],
    "endpoints": [
        {"service_type": "object-store", "interface": "public", "region": "bari", "url": URL}
    ],
    "role_assignments": [
        {"user": "swift", "project": "service", "role": "service"},
        {"user": "swift", "system": "all", "role": "reader"},
        {"group": "staff", "group_domain": "users", "domain": "users", "role": "member"},
        {
            "user": "anna",
            "user_domain": "users",
            "project": "p1",
            "project_domain": "users",
            "role": "swiftoperator",
        },
    ],
}


def absent(wish: dict[str, Any]) -> dict[str, Any]:
    return {kind: [{**item, "state": "absent"} for item in items] for kind, items in wish.items()}


def test_waits_for_a_keystone_that_is_starting(keystone: Keystone) -> None:
    result = call(keystone, timeout=1, roles=[{"name": "admin"}])
    assert result["failed"]
    assert f"{keystone.url}/v3: could not log in: no connection" in result["msg"]
    assert "check that it runs" in result["msg"]
    later = threading.Timer(3, keystone.start)
    later.start()
    try:
        assert operations(call(keystone, timeout=60, roles=[{"name": "admin"}])) == []
    finally:
        later.join()


def test_check_mode_says_all_and_changes_nothing(keystone: Keystone) -> None:
    first = operations(call(keystone, check=True, **WISH))
    assert len(first) == 15
    assert operations(call(keystone, check=True, **WISH)) == first
    assert [
        role["name"] for role in keystone.admin("GET", "/roles?name=swiftoperator")["roles"]
    ] == []


def test_creates_and_a_second_run_changes_nothing(keystone: Keystone) -> None:
    result = call(keystone, **WISH)
    assert len(operations(result)) == 15
    assert keystone.log_in("swift", SWIFT_PASSWORD, "service")
    service_id = result["ids"]["project"]["service"]
    swift_id = result["ids"]["user"]["swift"]
    assert keystone.admin("GET", f"/users/{swift_id}")["user"]["default_project_id"] == service_id
    (endpoint,) = keystone.admin("GET", "/endpoints?region_id=bari")["endpoints"]
    assert endpoint["url"] == URL
    assert endpoint["id"] == result["ids"]["endpoint"]["object-store public bari"]
    again = call(keystone, **WISH)
    assert operations(again) == []
    assert again["ids"] == result["ids"]


def test_updates_what_differs_and_leaves_the_rest(keystone: Keystone) -> None:
    wish: dict[str, Any] = {
        "regions": [{"id": "bari", "description": "On the sea"}],
        "projects": [{"name": "p1", "domain": "users", "enabled": False}],
        "users": [{"name": "anna", "domain": "users", "description": "New"}],
        "services": [{"type": "object-store", "name": "s3"}],
        "endpoints": [{**WISH["endpoints"][0], "url": "http://other.example/v1"}],
    }
    assert operations(call(keystone, **wish)) == [
        "update region bari",
        "update project users/p1",
        "update user users/anna",
        "update service object-store",
        "update endpoint object-store public bari",
    ]
    assert operations(call(keystone, **wish)) == []
    assert keystone.admin("GET", "/regions/bari")["region"]["parent_region_id"] == "italy"
    (anna,) = keystone.admin("GET", "/users?name=anna")["users"]
    assert (anna["email"], anna["description"]) == ("anna@users.example", "New")


def test_passwords(keystone: Keystone) -> None:
    def swift(**more: Any) -> list[str]:
        return operations(call(keystone, users=[{"name": "swift", **more}]))

    new = "an0ther-s3cret"
    assert swift(password=new, update_password="on_create") == []
    assert swift(password=new) == ["update user swift"]
    assert swift(password=new) == []
    assert keystone.log_in("swift", new)
    with pytest.raises(urllib.error.HTTPError):
        keystone.log_in("swift", SWIFT_PASSWORD)
    assert swift(enabled=False) == ["update user swift"]
    assert swift(password=SWIFT_PASSWORD, enabled=False) == []
    assert swift(password=SWIFT_PASSWORD, enabled=True) == ["update user swift"]
    assert swift(password=SWIFT_PASSWORD, enabled=True) == []
    assert keystone.log_in("swift", SWIFT_PASSWORD)


def test_a_list_that_keystone_cuts_short(keystone: Keystone) -> None:
    crowd = [{"name": f"user{number:02}"} for number in range(12)]
    assert len(operations(call(keystone, users=crowd))) == 12
    listed = keystone.admin("GET", "/users?domain_id=default")
    assert len(listed["users"]) < 12, "this Keystone does not cut lists short"
    assert operations(call(keystone, users=crowd)) == []
    assert len(operations(call(keystone, **absent({"users": crowd})))) == 12


def test_refuses_what_is_ambiguous_or_dangling(keystone: Keystone) -> None:
    (service,) = keystone.admin("GET", "/services?type=object-store")["services"]
    twin = {
        "service_id": service["id"],
        "interface": "public",
        "region_id": "bari",
        "url": "http://twin.example",
    }
    twin_id = keystone.admin("POST", "/endpoints", {"endpoint": twin})["endpoint"]["id"]
    result = call(keystone, roles=[{"name": "new"}], endpoints=WISH["endpoints"])
    keystone.admin("DELETE", f"/endpoints/{twin_id}")
    assert result["failed"]
    assert twin_id in result["msg"]
    result = call(
        keystone,
        roles=[{"name": "new"}],
        role_assignments=[{"user": "nobody", "project": "service", "role": "new"}],
    )
    assert "needs user nobody, which neither exists nor is declared" in result["msg"]
    result = call(keystone, domains=[{"name": "users", "state": "absent"}])
    assert "domain users still has" in result["msg"]
    assert keystone.admin("GET", "/roles?name=new")["roles"] == []


def test_what_keystone_refuses_says_who_and_what_was_done(keystone: Keystone) -> None:
    result = call(keystone, auth={"password": "wr0ng-s3cret"}, roles=[{"name": "new"}])
    assert "could not log in: HTTP 401" in result["msg"].replace(": Unauthorized", "")
    assert "check auth.password" in result["msg"]

    as_swift = {"username": "swift", "password": SWIFT_PASSWORD, "project_name": "service"}
    result = call(keystone, auth=as_swift, regions=[{"id": "new"}])
    assert "could not create region new: HTTP 403" in result["msg"]
    assert "user swift of domain Default needs the role admin" in result["msg"]

    # The endpoints of a region hold it; the role before it is there, and is told.
    gone = {"id": "bari", "state": "absent"}
    result = call(keystone, roles=[{"name": "new"}], regions=[gone])
    assert "could not delete region bari: HTTP 403" in result["msg"]
    assert "1 of 2 operations were done before" in result["msg"]
    assert [one["name"] for one in result["operations"]] == ["new"]
    assert result["changed"]

    long = "x" * 300
    result = call(keystone, roles=[{"name": long}])
    assert "HTTP 400" in result["msg"]


def test_urls_that_are_no_keystone(keystone: Keystone, tmp_path: Path) -> None:
    secure = keystone.url.replace("http:", "https:")
    result = call(secure, roles=[{"name": "new"}])
    assert "could not log in: TLS failed" in result["msg"]
    assert "auth.cacert" in result["msg"]
    result = call(keystone, auth={"cacert": str(tmp_path / "none.pem")}, roles=[])
    assert "auth.cacert: there is no file" in result["msg"]
    result = call(keystone.url + "/elsewhere", roles=[{"name": "new"}])
    assert "could not log in: HTTP 404" in result["msg"]


@pytest.mark.parametrize(
    ("status", "says"), [(500, "Keystone's log"), (503, "Keystone's log"), (200, "auth_url")]
)
def test_a_server_that_is_broken(status: int, says: str) -> None:
    pytest.importorskip("keystoneauth1", reason="the module needs keystoneauth1")

    class Broken(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"no")

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # Only what may pass by itself is waited for.
        timeout = 4 if status == 503 else 60
        url = f"http://127.0.0.1:{server.server_port}"
        started = time.monotonic()
        result = call(url, timeout=timeout, roles=[{"name": "a"}])
        took = time.monotonic() - started
        server.shutdown()
    assert result["failed"]
    assert says in result["msg"]
    assert took > 3 if status == 503 else took < 30


def test_removes_it_all_and_a_second_run_changes_nothing(keystone: Keystone) -> None:
    wish = absent(WISH)
    assert len(operations(call(keystone, check=True, **wish))) == 15
    assert len(operations(call(keystone, **wish))) == 15
    assert operations(call(keystone, **wish)) == []
    assert [one["name"] for one in keystone.admin("GET", "/domains")["domains"]] == ["Default"]
    assert keystone.admin("GET", "/regions")["regions"] == []
    assert keystone.log_in("admin", ADMIN_PASSWORD, "admin")
