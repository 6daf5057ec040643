# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the proxies and the daemons add, as clients see it; the simpler of it is in test_clients."""

from __future__ import annotations

import concurrent.futures
import hashlib
import hmac
import secrets
import time
from urllib.parse import urlsplit

import botocore.exceptions
import pytest


@pytest.fixture
def urls(demo) -> dict[str, str]:
    """The account's address in each site."""
    return {name: f"{site.object_storage}/v1/{demo.account}" for name, site in demo.sites.items()}


@pytest.fixture
def token(demo) -> str:
    return demo.sessions["cnaf"].get_token()


# --- without credentials


def test_a_form_uploads_without_credentials(demo, container, urls) -> None:
    key, swift = secrets.token_hex(16), demo.swift("cnaf")
    swift.put_container(container, {"X-Container-Meta-Temp-URL-Key": key})
    url = f"{urls['bari']}/{container}/in-"
    expires = int(time.time() + 60)
    text = f"{urlsplit(url).path}\n\n1000\n1\n{expires}"
    form = {
        "redirect": "",
        "max_file_size": "1000",
        "max_file_count": "1",
        "expires": str(expires),
        "signature": hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest(),
    }
    answer = demo.http("POST", url, data=form, files={"file": ("a.txt", b"from a form")})
    assert answer.status_code == 201, answer.text
    assert swift.get_object(container, "in-a.txt")[1] == b"from a form"
    large = demo.http("POST", url, data=form, files={"file": ("b.txt", b"x" * 1001)})
    assert (large.status_code, large.text) == (400, "FormPost: max_file_size exceeded")
    forged = form | {"max_file_size": "2000"}
    answer = demo.http("POST", url, data=forged, files={"file": ("b.txt", b"x")})
    assert answer.status_code == 401, answer.text


def test_web_pages_of_an_owners_choice_may_call_a_container(demo, container, urls) -> None:
    origin = "https://portal.example.org"
    headers = {"X-Container-Meta-Access-Control-Allow-Origin": origin, "X-Container-Read": ".r:*"}
    demo.swift("cnaf").put_container(container, headers)
    demo.swift("cnaf").put_object(container, "o", b"for a page")
    for url in urls.values():
        ask = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
        answer = demo.http("OPTIONS", f"{url}/{container}/o", headers=ask)
        assert answer.status_code == 200, url
        assert answer.headers["access-control-allow-origin"] == origin
        assert "PUT" in answer.headers["access-control-allow-methods"]
        answer = demo.http("GET", f"{url}/{container}/o", headers={"Origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin
        other = {"Origin": "https://evil.example.org", "Access-Control-Request-Method": "PUT"}
        assert demo.http("OPTIONS", f"{url}/{container}/o", headers=other).status_code == 401
        other.pop("Access-Control-Request-Method")
        answer = demo.http("GET", f"{url}/{container}/o", headers=other)
        assert "access-control-allow-origin" not in answer.headers


# --- S3


def test_s3_keeps_versions(demo) -> None:
    bucket = f"demo-test-{secrets.token_hex(4)}"
    one, two, three = (demo.s3(site) for site in demo.sites)
    where = {"Bucket": bucket, "Key": "o"}
    try:
        one.create_bucket(Bucket=bucket)
        one.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        assert two.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        old = one.put_object(**where, Body=b"old")["VersionId"]
        new = two.put_object(**where, Body=b"new")["VersionId"]
        assert three.get_object(**where)["Body"].read() == b"new"
        assert three.get_object(**where, VersionId=old)["Body"].read() == b"old"
        three.delete_object(**where)
        with pytest.raises(botocore.exceptions.ClientError, match="NoSuchKey"):
            one.get_object(**where)
        listing = two.list_object_versions(Bucket=bucket)
        assert [each["VersionId"] for each in listing["Versions"]] == [new, old]
        marker = listing["DeleteMarkers"][0]["VersionId"]
        for version in (marker, new, old):
            one.delete_object(**where, VersionId=version)
        assert "Versions" not in three.list_object_versions(Bucket=bucket)
    finally:
        demo.empty(bucket)


def test_s3_uploads_by_a_signed_address(demo) -> None:
    bucket = f"demo-test-{secrets.token_hex(4)}"
    try:
        demo.s3("cnaf").create_bucket(Bucket=bucket)
        url = demo.s3("bari").generate_presigned_url(
            "put_object", Params={"Bucket": bucket, "Key": "o"}, ExpiresIn=60
        )
        assert demo.http("PUT", url, data=b"signed").status_code == 200
        assert demo.s3("padova").get_object(Bucket=bucket, Key="o")["Body"].read() == b"signed"
        gone = demo.s3("bari").generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": "o"}, ExpiresIn=1
        )
        time.sleep(2)
        assert demo.http("GET", gone).status_code == 403
    finally:
        demo.empty(bucket)


# --- daemons


def test_the_expirer_removes_what_is_over(demo, container, wait) -> None:
    swift = demo.swift("cnaf")
    swift.put_container(container)
    swift.put_object(container, "o", b"for a moment", headers={"X-Delete-After": "10"})
    over = int(demo.swift("bari").head_object(container, "o")["x-delete-at"])
    time.sleep(max(0, over + 1 - time.time()))

    # The expirer finds tasks in containers that the account knows of, which the updater tells it.
    demo.once("container-updater", "container-server.conf")

    def check() -> None:
        # The proxies hide it at once; that the listing and the disks lose it is the expirer's work.
        demo.once("object-expirer", "object-expirer.conf")
        assert not demo.swift("padova").get_container(container)[1]
        (place,) = demo.places([(demo.account, container, "o")])
        assert [bool(each["timestamp"]) for each in place["replicas"]] == [True] * 3, place
        assert place["copies"] == 0, place

    wait(check, 90, every=3)


def test_containers_of_two_sites_are_kept_the_same(demo, wait) -> None:
    """Each tells the other; both directions, and a deletion."""
    realm = demo.variables["_meta"]["hostvars"]["cnaf-st1"]["federation_name"]
    key = secrets.token_hex(16)
    names = {site: f"demo-test-{secrets.token_hex(4)}" for site in ("cnaf", "bari")}
    try:
        for site, other in (("cnaf", "bari"), ("bari", "cnaf")):
            headers = {
                "X-Container-Sync-To": f"//{realm}/{other}/{demo.account}/{names[other]}",
                "X-Container-Sync-Key": key,
            }
            demo.swift(site).put_container(names[site], headers)
        demo.swift("cnaf").put_object(names["cnaf"], "from cnaf", b"one")
        demo.swift("bari").put_object(names["bari"], "from bari", b"two")

        def same() -> None:
            demo.once("container-sync", "container-server.conf")
            for site in names:
                swift = demo.swift(site)
                found = {
                    each["name"]: swift.get_object(names[site], each["name"])[1]
                    for each in swift.get_container(names[site])[1]
                }
                assert found == {"from cnaf": b"one", "from bari": b"two"}, site

        wait(same, 90, every=1)
        demo.swift("bari").delete_object(names["bari"], "from cnaf")

        def gone() -> None:
            demo.once("container-sync", "container-server.conf")
            listing = demo.swift("cnaf").get_container(names["cnaf"])[1]
            assert [each["name"] for each in listing] == ["from bari"]

        wait(gone, 90, every=1)
    finally:
        for name in names.values():
            demo.empty(name)


def test_a_large_container_is_divided(demo, container, wait) -> None:
    names = [f"o{number:03}" for number in range(60)]
    swift = demo.swift("cnaf")
    swift.put_container(container)

    def put(name: str) -> None:
        demo.swift("cnaf").put_object(container, name, b"x")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(put, names))

    (place,) = demo.places([(demo.account, container)])
    first = place["replicas"][0]

    def manage(*arguments: str) -> str:
        script = f"""
            hash=$(python3 -c 'import sys; from swift.common.utils import hash_path
print(hash_path(*sys.argv[1:]))' {demo.account} {container})
            folder=/srv/node/{first["device"]}/containers/{place["partition"]}
            database=$(find "$folder" -name "$hash*.db" | sort | tail -n 1)
            runuser -u swift -- swift-manage-shard-ranges \
                --config /etc/swift/container-server.conf "$database" {" ".join(arguments)}
        """
        return demo.shell(first["host"], script)

    def whole() -> None:
        listing = swift.get_container(container)[1]
        assert [each["name"] for each in listing] == names

    wait(whole, 60)
    manage("find_and_replace", "20", "--enable")

    def divided() -> None:
        demo.once("container-sharder", "replication/container.conf")
        assert "db_state = sharded" in manage("info")

    wait(divided, 180, every=2)
    for site in demo.sites:
        listing = demo.swift(site).get_container(container)[1]
        assert [each["name"] for each in listing] == names, site
    # What comes later goes into the shards, and the listing has it.
    swift.put_object(container, "o030a", b"x")

    def later() -> None:
        found = [each["name"] for each in demo.swift("bari").get_container(container)[1]]
        assert found == sorted([*names, "o030a"])

    wait(later, 60)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(
            pool.map(lambda name: demo.swift("cnaf").delete_object(container, name),
                     [*names, "o030a"])
        )  # fmt: skip

    def removable() -> None:
        # A divided container can be removed when its shards have told it that they are empty.
        demo.once("container-sharder", "replication/container.conf")
        url = f"{demo.sites['cnaf'].object_storage}/v1/{demo.account}/{container}"
        answer = demo.http("DELETE", url, token=demo.sessions["cnaf"].get_token())
        assert answer.status_code in (204, 404), answer.status_code

    wait(removable, 120, every=2)
