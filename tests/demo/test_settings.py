# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the object storage that the demo has not: set by the playbook, seen by a client.

Encryption at rest, limits on requests and web pages of the administrator's choice are switched on
over a cluster that has data, changed, and taken back. Each step is one run of the playbook.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = [pytest.mark.drill, pytest.mark.settings]

ORIGIN = "https://portal.example.org"
# What is tried along with the encryption.
SEEN: dict[str, Any] = {
    "swift_proxy_cors_allow_origin": [ORIGIN],
    "swift_proxy_ratelimit_account": 1,
}
TAGS = "swift_common_configure,swift_storage_configure,swift_storage_service,swift_proxy"


def root_secret() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


class Settings:
    """What the playbook is run with."""

    def __init__(self, demo: Any) -> None:
        self.demo = demo
        self.secrets = {"one": root_secret()}

    def apply(self, *options: str, **variables: Any) -> Any:
        hosts = ("--limit", "swift_proxy:swift_storage")
        return self.demo.play("backbone", *hosts, "--tags", TAGS, *options, **variables)


@pytest.fixture(scope="module")
def settings(demo) -> Settings:
    return Settings(demo)


# All that a host keeps of objects: what lies in the files, and in their attributes.
AT_REST = """
import glob, os, sys
marker = sys.stdin.buffer.read()
found = 0
for path in glob.glob("/srv/node/*/objects*/**/*.data", recursive=True):
    text = open(path, "rb").read()
    text += b"".join(os.getxattr(path, name) for name in os.listxattr(path))
    found += marker in text
print(found)
"""


@pytest.fixture(scope="module")
def at_rest(demo) -> Callable[[str], int]:
    """In how many files of all disks a text is found as it is."""

    def look(marker: str) -> int:
        script = f"python3 -c '{AT_REST}'"
        return sum(map(int, demo.on(demo.storage, script, stdin=marker.encode()).values()))

    return look


@pytest.fixture(scope="module")
def encrypted(demo, settings, at_rest) -> Iterator[dict[str, str]]:
    """One object of before, then encryption is switched on, with what else is tried here."""
    container = f"demo-test-{secrets.token_hex(4)}"
    marker = f"in clear {secrets.token_hex(8)}"
    swift = demo.swift("cnaf")
    try:
        swift.put_container(container)
        swift.put_object(container, "before", marker * 100, headers={"X-Object-Meta-M": marker})
        wish: dict[str, Any] = {
            "swift_common_encryption_secrets": dict(settings.secrets),
            "swift_common_encryption_active": "one",
        }
        early = settings.apply(**wish)
        assert early.rc != 0 and "cannot decrypt yet" in early.text, early.text
        assert not early.changed, early.stats
        # First all proxies learn to decrypt, then they encrypt; the next secret comes along.
        first = settings.apply(**wish, swift_proxy_encryption="decrypt", **SEEN)
        assert first.rc == 0, first.text
        settings.secrets["two"] = root_secret()
        wish["swift_common_encryption_secrets"] = settings.secrets
        run = settings.apply(**wish, **SEEN)
        assert run.rc == 0, run.text
        yield {"container": container, "before": marker}
    finally:
        demo.empty(container)
        back = settings.apply(swift_common_allow_data_loss=True, swift_proxy_allow_data_loss=True)
        assert back.rc == 0, back.text
        for host, found in demo.on(list(demo.hosts), "ls /etc/swift").items():
            assert "keymaster.conf" not in found, host


def test_what_was_there_before_is_still_read(demo, encrypted, at_rest) -> None:
    # That the marker is found at all shows that the search finds what lies in clear.
    assert at_rest(encrypted["before"]) >= 2
    for site in demo.sites:
        headers, body = demo.swift(site).get_object(encrypted["container"], "before")
        assert body == encrypted["before"].encode() * 100
        assert headers["x-object-meta-m"] == encrypted["before"]


def test_nothing_lies_in_clear_and_every_client_reads_it(demo, encrypted, at_rest) -> None:
    marker = f"secret {secrets.token_hex(8)}"
    data = marker.encode() * 5000
    md5 = hashlib.md5(data).hexdigest()
    container = encrypted["container"]
    etag = demo.swift("bari").put_object(
        container, "after", data, headers={"X-Object-Meta-M": marker}
    )
    assert etag == md5
    for site in demo.sites:
        headers, body = demo.swift(site).get_object(container, "after")
        assert (body, headers["etag"], headers["x-object-meta-m"]) == (data, md5, marker), site
        assert demo.s3(site).head_object(Bucket=container, Key="after")["ETag"] == f'"{md5}"'
        listing = demo.swift(site).get_container(container)[1]
        assert {each["name"]: each["hash"] for each in listing}["after"] == md5
    assert at_rest(marker) == 0
    for host, mode in demo.on(demo.gateways, "stat -c '%a %U' /etc/swift/keymaster.conf").items():
        assert mode.split() == ["600", "swift"], host


def test_what_leaves_by_synchronisation_is_readable(demo, encrypted, wait) -> None:
    source, target = encrypted["container"], f"demo-test-{secrets.token_hex(4)}"
    realm = demo.variables["_meta"]["hostvars"]["cnaf-st1"]["federation_name"]
    key = secrets.token_hex(16)
    try:
        demo.swift("bari").put_container(target, {"X-Container-Sync-Key": key})
        to = f"//{realm}/bari/{demo.account}/{target}"
        headers = {"X-Container-Sync-Key": key, "X-Container-Sync-To": to}
        demo.swift("cnaf").post_container(source, headers)
        wished = demo.swift("cnaf").get_object(source, "after")[1]

        def check() -> None:
            demo.once("container-sync", "container-server.conf")
            names = [each["name"] for each in demo.swift("bari").get_container(target)[1]]
            assert "after" in names, names
            assert demo.swift("bari").get_object(target, "after")[1] == wished

        wait(check, 90, every=1)
    finally:
        demo.empty(target)


def test_web_pages_of_the_administrators_choice(demo, encrypted) -> None:
    """By Swift's interface, and by S3's, whose preflight has no credentials to look at."""
    for site in demo.sites.values():
        ask = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
        url = f"{site.object_storage}/v1/{demo.account}/{encrypted['container']}/after"
        answer = demo.http("OPTIONS", url, headers=ask)
        assert answer.status_code == 200, site.name
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        signed = demo.s3(site.name).generate_presigned_url(
            "get_object", Params={"Bucket": encrypted["container"], "Key": "after"}
        )
        answer = demo.http("OPTIONS", signed, headers=ask)
        assert answer.headers.get("access-control-allow-origin") == ORIGIN, site.name
        other = ask | {"Origin": "https://evil.example.org"}
        assert demo.http("OPTIONS", signed, headers=other).status_code == 401, site.name


def seconds(demo, number: int) -> float:
    """How long it takes to make and remove that many containers, one after the other."""
    names = [f"demo-test-{secrets.token_hex(4)}" for _number in range(number)]
    url = f"{demo.sites['bari'].object_storage}/v1/{demo.account}"
    token = demo.sessions["bari"].get_token()
    began = time.monotonic()
    for method in ("PUT", "DELETE"):
        for name in names:
            answer = demo.http(method, f"{url}/{name}", token=token)
            assert answer.status_code in (201, 202, 204), answer.text
    return time.monotonic() - began


def test_limits_on_requests_hold_and_spare_whom_they_shall(demo, settings, encrypted) -> None:
    """Together with the rotation of the encryption's secret: one run of the playbook for both."""
    # One a second, of which five may have been saved up: 20 requests take at least 14 seconds.
    limited = seconds(demo, 10)
    assert limited > 13
    run = settings.apply(
        swift_common_encryption_secrets=settings.secrets,
        swift_common_encryption_active="two",
        swift_proxy_ratelimit_account=1,
        swift_proxy_ratelimit_exempt_accounts=[demo.account],
    )
    assert run.rc == 0, run.text
    assert seconds(demo, 10) < 0.6 * limited


def test_a_rotated_secret_leaves_everything_readable(demo, settings, encrypted, at_rest) -> None:
    container, marker = encrypted["container"], f"later {secrets.token_hex(8)}"
    demo.swift("padova").put_object(container, "later", marker * 100)
    assert at_rest(marker) == 0
    for site in demo.sites:
        swift = demo.swift(site)
        assert swift.get_object(container, "later")[1] == marker.encode() * 100
        assert b"secret" in swift.get_object(container, "after")[1][:20]
        assert b"in clear" in swift.get_object(container, "before")[1][:20]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"take": "one"}, "secret one is there and would be taken away"),
        ({"replace": "one"}, "secret one has another value than the one that is there"),
        ({"off": True}, "would leave nothing that can read what is stored"),
        ({"add": "three"}, "secret three is not there yet"),
        ({"mode": "none"}, "set it to decrypt to store new data in clear"),
    ],
)
def test_to_lose_a_secret_is_refused(demo, settings, encrypted, change, says) -> None:
    known = dict(settings.secrets)
    if "take" in change:
        del known["one"]
    if "replace" in change:
        known["one"] = root_secret()
    if "add" in change:
        known["three"] = root_secret()
    active = change.get("add", "two")
    variables: dict[str, Any] = {
        "swift_common_encryption_secrets": {} if "off" in change else known,
        "swift_common_encryption_active": "" if "off" in change else active,
    }
    if "mode" in change:
        variables["swift_proxy_encryption"] = "none"
    run = settings.apply(**variables)
    assert run.rc != 0
    assert says in run.text, run.text
    assert not any(secret in run.text for secret in known.values())
    assert not run.changed, run.stats


def test_the_same_settings_again_change_nothing(demo, settings, encrypted) -> None:
    run = settings.apply(
        swift_common_encryption_secrets=settings.secrets,
        swift_common_encryption_active="two",
        swift_proxy_ratelimit_account=1,
        swift_proxy_ratelimit_exempt_accounts=[demo.account],
    )
    assert run.rc == 0, run.text
    assert not run.changed, run.stats
