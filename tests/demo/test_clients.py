# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identity and object storage as clients use them: write in one site, read in every other."""

from __future__ import annotations

import concurrent.futures
import hashlib
import itertools
import json
import random
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import keystoneclient.v3.client
import pytest
import swiftclient
import swiftclient.utils

MIB = 1024 * 1024
# Sizes at which something changes: nothing, one byte, around S3's smallest part, a large one.
SIZES = (0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 20_000_000)
OBJECTS = 30
WRITERS = 4


@dataclass(frozen=True)
class Written:
    name: str
    site: str
    size: int
    sha256: str
    md5: str


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def at_once(function: Callable[..., Any], arguments: Any) -> list[Any]:
    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(lambda each: function(*each), arguments))


# --- identity


def test_a_token_of_each_site_works_in_every_site(demo) -> None:
    for issuer, session in demo.sessions.items():
        token = session.get_token()
        for site in demo.sites.values():
            answer = demo.http(
                "GET",
                f"{site.identity}/auth/tokens",
                token=token,
                headers={"X-Subject-Token": token},
            )
            assert answer.status_code == 200, f"{issuer}'s token at {site.name}'s Keystone"
            url = f"{site.object_storage}/v1/{demo.account}"
            answer = demo.http("HEAD", url, token=token)
            assert answer.status_code == 204, f"{issuer}'s token at {site.name}'s Swift"


def test_the_catalog_has_one_region_per_site(demo) -> None:
    for site, session in demo.sessions.items():
        catalog = session.auth.get_access(session).service_catalog.get_endpoints(interface="public")
        for service, path in (
            ("identity", ":5000/v3"),
            ("object-store", f":8080/v1/{demo.account}"),
        ):
            found = {endpoint["region_id"]: endpoint["url"] for endpoint in catalog[service]}
            wished = {name: f"https://{of.endpoint}{path}" for name, of in demo.sites.items()}
            assert found == wished, f"{service} in the catalog that {site} gives"
            assert len(catalog[service]) == len(demo.sites)


# --- TLS


def endpoints(demo) -> list[tuple[str, int]]:
    return [(site.endpoint, port) for site in demo.sites.values() for port in (5000, 8080)]


def shake_hands(address: tuple[str, int], context: ssl.SSLContext, name: str = "") -> str:
    with (
        socket.create_connection(address, timeout=10) as raw,
        context.wrap_socket(raw, server_hostname=name or address[0]) as link,
    ):
        return str(link.version())


def test_the_certificate_is_verified_against_the_demos_authority(demo) -> None:
    for address in endpoints(demo):
        version = shake_hands(address, ssl.create_default_context(cafile=str(demo.ca)))
        assert version in ("TLSv1.2", "TLSv1.3"), address
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(address, ssl.create_default_context())


def test_every_site_answers_for_the_federations_one_name(demo) -> None:
    domain = next(iter(demo.variables["_meta"]["hostvars"].values()))["federation_domain"]
    for address in endpoints(demo):
        context = ssl.create_default_context(cafile=str(demo.ca))
        assert shake_hands(address, context, f"cloud.{domain}"), address
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(address, context, f"other.{domain}")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_tls_is_refused(demo) -> None:
    for address in endpoints(demo):
        context = ssl.create_default_context(cafile=str(demo.ca))
        # This library refuses it too unless it is told not to; the server is what is asked.
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)) as refusal:
            shake_hands(address, context)
        assert "NO_PROTOCOLS_AVAILABLE" not in str(refusal.value), "the client did not even ask"
        assert "NO_CIPHERS" not in str(refusal.value), "the client did not even ask"


def test_http_in_clear_is_refused(demo) -> None:
    for address in endpoints(demo):
        with socket.create_connection(address, timeout=10) as link:
            link.sendall(f"GET /v3 HTTP/1.1\r\nHost: {address[0]}\r\n\r\n".encode())
            link.settimeout(10)
            try:
                answer = link.recv(200)
            except ConnectionError:
                answer = b""
        assert answer == b"" or b" 400 " in answer.split(b"\r\n")[0], (address, answer)


# --- objects


@pytest.fixture(scope="module")
def written(demo) -> Iterator[tuple[str, list[Written]]]:
    """A container of objects of many sizes, written through sites that chance chose."""
    seed = 20261123
    chance = random.Random(seed)
    sizes = [*SIZES, *(int(2 ** chance.uniform(0, 20)) for _number in range(OBJECTS - len(SIZES)))]
    assert sum(sizes) < 120_000_000
    container = f"demo-test-{secrets.token_hex(4)}"
    names = ["plain", "with space", "a/path/of three", "ünïcødé-☃", "100%?#&=+", "-dash", "x" * 900]
    plan = [
        (f"{number:02} {names[number % len(names)]}", chance.choice(list(demo.sites)), size)
        for number, size in enumerate(sizes)
    ]

    def write(number: int, name: str, site: str, size: int) -> Written:
        data = content(seed + number, size)
        etag = demo.swift(site).put_object(container, name, data, content_length=size)
        what = Written(
            name, site, size, hashlib.sha256(data).hexdigest(), hashlib.md5(data).hexdigest()
        )
        assert etag == what.md5, f"{name}: {site} says the checksum is {etag}"
        return what

    try:
        demo.swift(min(demo.sites)).put_container(container)
        yield container, at_once(write, ((n, *entry) for n, entry in enumerate(plan)))
    finally:
        demo.empty(container)


def test_objects_read_equal_through_every_site(demo, written) -> None:
    container, objects = written

    def read(what: Written, site: str) -> str:
        _headers, body = demo.swift(site).get_object(container, what.name)
        if hashlib.sha256(body).hexdigest() == what.sha256:
            return ""
        return f"{what.name} of {what.size} B, written in {what.site}: other bytes in {site}"

    wrong = [text for text in at_once(read, itertools.product(objects, demo.sites)) if text]
    assert not wrong, "\n".join(wrong)


def test_three_copies_lie_in_three_regions(demo, written, wait) -> None:
    container, objects = written
    regions = sorted(site.region for site in demo.sites.values())

    # A site answers when two copies are written; the third may be a moment late.
    def check() -> None:
        places = demo.places([(demo.account, container, what.name) for what in objects])
        for what, place in zip(objects, places):
            assert (place["copies"], place["regions"]) == (3, regions), place
            for replica in place["replicas"]:
                assert (replica["etag"], replica["bytes"]) == (what.md5, what.size), place

    wait(check, 60)


def test_the_containers_listing_agrees_everywhere(demo, written, wait) -> None:
    container, objects = written
    wished = sorted((what.name, what.size, what.md5) for what in objects)

    def check() -> None:
        for site in demo.sites:
            _headers, listing = demo.swift(site).get_container(container, full_listing=True)
            found = [(entry["name"], entry["bytes"], entry["hash"]) for entry in listing]
            assert sorted(found) == wished, site

    # What a container server missed comes with the object updater, every minute.
    wait(check, 120, every=3)


def test_the_accounts_listing_agrees_everywhere(demo, written, wait) -> None:
    container, objects = written
    wished = (len(objects), sum(what.size for what in objects))

    def check() -> None:
        for site in demo.sites:
            _headers, listing = demo.swift(site).get_account(prefix=container)
            found = [(entry["count"], entry["bytes"]) for entry in listing]
            assert found == [wished], f"{site}: {found}"

    # The containers' updater tells the accounts, in the demo only twice in an hour by itself.
    demo.once("container-updater", "container-server.conf")
    wait(check, 30, every=3)


def test_a_deleted_object_is_gone_everywhere(demo, container, wait) -> None:
    first, second, *_others = demo.sites
    demo.swift(first).put_container(container)
    demo.swift(first).put_object(container, "o", b"here")
    demo.swift(second).delete_object(container, "o")

    def check() -> None:
        for site in demo.sites:
            with pytest.raises(swiftclient.ClientException) as error:
                demo.swift(site).get_object(container, "o")
            assert error.value.http_status == 404, site
        place = demo.places([(demo.account, container, "o")])[0]
        found = [(replica["status"], bool(replica["timestamp"])) for replica in place["replicas"]]
        assert found == [(404, True)] * 3, f"no tombstone: {place}"

    wait(check, 60)


# --- S3


def test_s3_through_different_sites(demo) -> None:
    one, two, three = list(demo.sites)[:3]
    bucket = f"demo-test-{secrets.token_hex(4)}"
    try:
        demo.s3(one).create_bucket(Bucket=bucket)
        assert bucket in [each["Name"] for each in demo.s3(two).list_buckets()["Buckets"]]
        data = content(1, 100_000)
        demo.s3(two).put_object(Bucket=bucket, Key="a/b c", Body=data, ContentType="x/y")
        found = demo.s3(three).get_object(Bucket=bucket, Key="a/b c")
        assert (found["Body"].read(), found["ContentType"]) == (data, "x/y")
        keys = [each["Key"] for each in demo.s3(one).list_objects_v2(Bucket=bucket)["Contents"]]
        assert keys == ["a/b c"]

        headers, body = demo.swift(three).get_object(bucket, "a/b c")
        assert (body, headers["content-type"]) == (data, "x/y")

        url = demo.s3(one).generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": "a/b c"}, ExpiresIn=60
        )
        answer = demo.http("GET", url)
        assert (answer.status_code, answer.content) == (200, data), answer.text[:200]
        assert demo.http("GET", url.replace("Signature=", "Signature=0")).status_code == 403

        demo.s3(two).delete_object(Bucket=bucket, Key="a/b c")
        assert "Contents" not in demo.s3(three).list_objects_v2(Bucket=bucket)
    finally:
        demo.empty(bucket)


def test_s3_multipart_begun_in_one_site_and_ended_in_another(demo) -> None:
    one, two, three = list(demo.sites)[:3]
    bucket = f"demo-test-{secrets.token_hex(4)}"
    parts = [content(2, 5 * MIB), content(3, 1000)]
    try:
        demo.s3(one).create_bucket(Bucket=bucket)
        upload = demo.s3(one).create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
        key = {"Bucket": bucket, "Key": "big", "UploadId": upload}
        done = [
            {
                "PartNumber": number,
                "ETag": demo.s3(site).upload_part(PartNumber=number, Body=part, **key)["ETag"],
            }
            for number, (site, part) in enumerate(zip((one, two), parts), 1)
        ]
        demo.s3(three).complete_multipart_upload(MultipartUpload={"Parts": done}, **key)
        body = demo.s3(two).get_object(Bucket=bucket, Key="big")["Body"].read()
        assert hashlib.sha256(body).hexdigest() == hashlib.sha256(b"".join(parts)).hexdigest()
        assert demo.swift(one).head_object(bucket, "big")["content-length"] == str(len(body))
        demo.s3(one).delete_object(Bucket=bucket, Key="big")
    finally:
        demo.empty(bucket)
        demo.empty(f"{bucket}+segments")


# --- what the proxies add


@pytest.fixture
def swifts(demo) -> list[swiftclient.Connection]:
    """A connection through each site; each asks the site's own proxy."""
    return [demo.swift(site) for site in demo.sites]


@pytest.fixture
def token(demo) -> str:
    return demo.sessions[next(iter(demo.sites))].get_token()


@pytest.fixture
def urls(demo) -> list[str]:
    """The account's address in each site."""
    return [f"{site.object_storage}/v1/{demo.account}" for site in demo.sites.values()]


def test_temporary_urls(demo, container, swifts, urls) -> None:
    key = secrets.token_hex(16)
    swifts[0].put_container(container, {"X-Container-Meta-Temp-URL-Key": key})
    swifts[0].put_object(container, "o", b"for a while")
    path = f"{urlsplit(urls[1]).path}/{container}/o"
    signed = swiftclient.utils.generate_temp_url(path, 60, key, "GET", digest="sha256")
    base = urls[1].removesuffix(urlsplit(urls[1]).path)
    answer = demo.http("GET", f"{base}{signed}")
    assert (answer.status_code, answer.content) == (200, b"for a while")
    assert demo.http("PUT", f"{base}{signed}", data=b"x").status_code == 401


def test_static_large_objects(demo, container, swifts, urls, token) -> None:
    swifts[0].put_container(container)
    manifest = []
    for number, swift in enumerate(swifts):
        etag = swift.put_object(container, f"parts/{number}", b"%d" % number * 10)
        manifest.append({"path": f"/{container}/parts/{number}", "etag": etag, "size_bytes": 10})
    query = "multipart-manifest=put"
    swifts[1].put_object(container, "whole", json.dumps(manifest), query_string=query)
    assert swifts[-1].get_object(container, "whole")[1] == b"0" * 10 + b"1" * 10 + b"2" * 10
    manifest[0]["etag"] = "0" * 32
    with pytest.raises(swiftclient.ClientException) as error:
        swifts[1].put_object(container, "bad", json.dumps(manifest), query_string=query)
    assert error.value.http_status == 400
    answer = demo.http(
        "DELETE",
        f"{urls[0]}/{container}/whole?multipart-manifest=delete",
        token=token,
        headers={"Accept": "application/json"},
    )
    assert answer.json()["Number Deleted"] == 4, answer.text


def test_dynamic_large_objects(container, swifts) -> None:
    swifts[0].put_container(container)
    swifts[0].put_object(container, "parts/1", b"one ")
    swifts[1].put_object(container, "parts/2", b"two")
    swifts[1].put_object(
        container, "all", b"", headers={"X-Object-Manifest": f"{container}/parts/"}
    )
    assert swifts[-1].get_object(container, "all")[1] == b"one two"


def test_versions_are_kept(demo, container, swifts, urls, token) -> None:
    swifts[0].put_container(container, {"X-Versions-Enabled": "true"})
    swifts[0].put_object(container, "o", b"old")
    swifts[0].put_object(container, "o", b"new")
    assert swifts[-1].get_object(container, "o")[1] == b"new"
    url = f"{urls[0]}/{container}?versions&format=json"
    versions = demo.http("GET", url, token=token).json()
    assert [version["is_latest"] for version in versions] == [True, False], versions
    query = f"version-id={versions[1]['version_id']}"
    assert swifts[1].get_object(container, "o", query_string=query)[1] == b"old"


def test_a_public_container_is_a_web_site(demo, container, swifts, urls) -> None:
    acl = {"X-Container-Read": ".r:*,.rlistings", "X-Container-Meta-Web-Index": "index.html"}
    swifts[0].put_container(container, acl)
    swifts[0].put_object(container, "index.html", b"<p>Welcome", content_type="text/html")
    for url in urls:
        answer = demo.http("GET", f"{url}/{container}/")
        assert (answer.status_code, answer.content) == (200, b"<p>Welcome"), url
        assert demo.http("PUT", f"{url}/{container}/x", data=b"x").status_code == 401


def test_many_objects_are_deleted_at_once(demo, container, swifts, urls, token) -> None:
    swifts[0].put_container(container)
    for name in ("a", "b c"):
        swifts[0].put_object(container, name, b"x")
    names = "\n".join(f"{container}/{quote(name)}" for name in ("a", "b c", "never there"))
    answer = demo.http(
        "POST",
        f"{urls[1]}?bulk-delete",
        token=token,
        data=names,
        headers={"Content-Type": "text/plain", "Accept": "application/json"},
    ).json()
    assert (answer["Number Deleted"], answer["Number Not Found"]) == (2, 1), answer


def test_container_quota(container, swifts) -> None:
    swifts[0].put_container(container, {"X-Container-Meta-Quota-Bytes": "10"})
    for swift in swifts:
        with pytest.raises(swiftclient.ClientException) as error:
            swift.put_object(container, "o", b"x" * 11)
        assert error.value.http_status == 413
    swifts[0].put_object(container, "o", b"x" * 10)


def test_symbolic_links(container, swifts) -> None:
    swifts[0].put_container(container)
    swifts[0].put_object(container, "target", b"what it points to")
    link = {"X-Symlink-Target": f"{container}/target"}
    swifts[1].put_object(container, "link", b"", headers=link)
    assert swifts[-1].get_object(container, "link")[1] == b"what it points to"


def test_copies_are_made_by_the_servers(container, swifts) -> None:
    swifts[0].put_container(container)
    swifts[0].put_object(container, "o", b"once more")
    swifts[1].copy_object(container, "o", f"/{container}/copy of o")
    assert swifts[-1].get_object(container, "copy of o")[1] == b"once more"


# --- who may not


def test_without_a_token_nothing_is_open(demo, container, swifts, urls) -> None:
    swifts[0].put_container(container)
    swifts[0].put_object(container, "o", b"x")
    for url in urls:
        for path in ("", f"/{container}", f"/{container}/o"):
            for headers in ({}, {"X-Auth-Token": "nonsense"}):
                answer = demo.http("GET", f"{url}{path}", headers=headers)
                assert answer.status_code == 401, f"{url}{path}"


@dataclass(frozen=True)
class Strangers:
    """A project that is not the demo's, its member, and who manages its account."""

    account: str
    member: Any
    manager: Any


@pytest.fixture(scope="module")
def strangers(demo) -> Iterator[Strangers]:
    site = min(demo.sites)
    admin = {"username": "admin", "password": demo.secrets["keystone_admin_password"]}
    session = demo.session(site, project_name="admin", **admin)
    keystone = keystoneclient.v3.client.Client(
        session=session, region_name=site, interface="public"
    )
    name, password = f"demo-test-{secrets.token_hex(4)}", secrets.token_urlsafe(24)
    role = {each.name: each for each in keystone.roles.list()}
    made: list[Any] = []
    reseller = None
    try:
        project = keystone.projects.create(name, domain="default")
        made.append(project)
        sessions = []
        for kind in ("member", "ResellerAdmin"):
            user = keystone.users.create(
                f"{name}-{kind}", password=password, default_project=project
            )
            made.insert(0, user)
            keystone.roles.grant(role[kind], user=user, project=project)
            who = {"username": user.name, "password": password, "project_name": name}
            sessions.append(demo.session(site, **who))
        reseller = sessions[1]
        account = f"AUTH_{project.id}"
        yield Strangers(account, *sessions)
        url = f"{demo.sites[site].object_storage}/v1/{account}"
        demo.http("DELETE", url, token=reseller.get_token())
    finally:
        for each in made:
            each.manager.delete(each)


def test_another_projects_user_is_refused(demo, container, swifts, urls, strangers) -> None:
    swifts[0].put_container(container)
    swifts[0].put_object(container, "o", b"x")
    token = strangers.member.get_token()
    for url in urls:
        for method, path in (("GET", ""), ("GET", f"/{container}/o"), ("PUT", f"/{container}/p")):
            answer = demo.http(method, f"{url}{path}", token=token)
            assert answer.status_code == 403, f"{method} {url}{path}"


def test_a_services_account_is_closed_to_its_project_alone(demo, token) -> None:
    """Swift's reader role opened it, since it asks for no token of the service."""
    account = demo.account.replace("AUTH_", "SERVICE_")
    for site in demo.sites.values():
        for method in ("GET", "HEAD"):
            answer = demo.http(method, f"{site.object_storage}/v1/{account}", token=token)
            assert answer.status_code == 403, f"{site.name}: {method}"


def test_account_quota_by_who_manages_accounts(demo, strangers) -> None:
    first, *others = demo.sites.values()
    url = f"{first.object_storage}/v1/{strangers.account}"
    member, manager = strangers.member.get_token(), strangers.manager.get_token()
    try:
        assert demo.http("PUT", f"{url}/c", token=member).status_code == 201
        quota = {"X-Account-Meta-Quota-Bytes": "10"}
        assert demo.http("POST", url, token=member, headers=quota).status_code == 403
        assert demo.http("POST", url, token=manager, headers=quota).status_code == 204
        for site in (first, *others):
            there = f"{site.object_storage}/v1/{strangers.account}/c/o"
            answer = demo.http("PUT", there, token=member, data=b"x" * 11)
            assert answer.status_code == 413, f"{site.name}: {answer.status_code} {answer.text}"
    finally:
        for path in ("/c/o", "/c"):
            demo.http("DELETE", f"{url}{path}", token=member)
