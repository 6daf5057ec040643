# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What site_info tells of real clouds: all of it, in a bounded number of requests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openstack
import pytest

from .conftest import PATIENCE, Cloud, module


@pytest.fixture(scope="module")
def found(north: Cloud, tmp_path_factory: pytest.TempPathFactory) -> dict:
    scratch = tmp_path_factory.mktemp("found")
    result = module(
        "site_info", scratch, auth=north.auth, timeout=PATIENCE,
        projects=["cms", "empty", "nobody"],
        gather=["flavors", "images", "networks", "quotas", "contents"],
    )  # fmt: skip
    assert not result.get("failed"), result
    return result["site"]


def test_a_good_site_is_usable(found: dict) -> None:
    assert found["usable"], found["reasons"]
    assert found["region"] == "north"
    assert set(found["services"]) == {
        "identity",
        "compute",
        "image",
        "network",
        "volume",
        "placement",
    }
    assert all(
        service["ok"] and service["latency_ms"] > 0 for service in found["services"].values()
    )
    assert found["services"]["compute"]["versions"]["max_microversion"] == "2.100"
    assert abs(found["clock_offset"]) < 1


def test_flavors_tell_their_gpus(found: dict) -> None:
    gpus = {flavor["name"]: flavor["gpu"] for flavor in found["flavors"] if flavor["gpu"]}
    assert gpus == {
        "g1.t4": {"number": 1, "model": "T4", "vendor": "nvidia"},
        "g2.a30": {"number": 2, "model": "A30", "vendor": "nvidia"},
    }
    (hidden,) = [flavor for flavor in found["flavors"] if not flavor["public"]]
    assert hidden["name"] == "x1.private", "an administrator sees what is not public"


def test_images_networks_quotas(found: dict) -> None:
    image = next(each for each in found["images"] if each["name"] == "almalinux-9")
    assert (image["os_type"], image["os_distro"], image["os_version"]) == (
        "linux",
        "almalinux",
        "9",
    )
    assert {n["name"]: n["external"] for n in found["networks"]}["public"] is True
    assert found["quotas"]["cms"]["instances"]["limit"] == 300
    assert found["quotas"]["empty"]["cores"] == {"limit": 20, "used": 0}
    assert found["projects"]["nobody"] is None
    assert "nobody" not in found["quotas"]


def test_contents_in_a_bounded_number_of_requests(found: dict) -> None:
    servers = [each for each in found["contents"]["cms"] if each["kind"] == "server"]
    assert len(servers) == 124
    assert not [each for each in found["contents"]["empty"] if each["kind"] == "server"]
    # Login, six services, three lists, the domain, three projects; for two of them three quotas
    # and eight lists of contents. None for any of the servers, flavors or images.
    assert found["requests"] <= 1 + 6 + 3 + 1 + 3 + 2 * 3 + 2 * 8


def test_sites_with_equal_ids_are_told_apart_by_their_region(
    found: dict, south: Cloud, tmp_path: Path
) -> None:
    other = module(
        "site_info", tmp_path, auth=south.auth, timeout=PATIENCE, gather=["images"]
    )["site"]  # fmt: skip
    assert other["region"] == "south"
    assert "10.202.2.11" in other["services"]["image"]["url"]
    assert {image["id"] for image in other["images"]} == {image["id"] for image in found["images"]}


def test_a_user_without_rights_sees_the_site_too(north: Cloud, tmp_path: Path) -> None:
    admin = north.connection
    user = admin.identity.create_user(
        name="reader", password="only-for-this-test", domain_id="default"
    )
    try:
        project = admin.identity.find_project("empty")
        admin.identity.assign_project_role_to_user(
            project, user, admin.identity.find_role("member")
        )
        auth = {
            **north.auth,
            "username": "reader",
            "password": "only-for-this-test",
            "project_name": "empty",
        }
        site = module("site_info", tmp_path, auth=auth, timeout=PATIENCE)["site"]
        assert site["usable"], site["reasons"]
        assert "x1.private" not in {flavor["name"] for flavor in site["flavors"]}
        assert site["quotas"]["empty"]["instances"]["limit"] == 10
    finally:
        admin.identity.delete_user(user)


@contextmanager
def stopped(cloud: Cloud, unit: str) -> Iterator[None]:
    cloud.on_host("systemctl", "stop", unit)
    try:
        yield
    finally:
        cloud.on_host("systemctl", "start", unit)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                next(cloud.connection.image.images(), None)
                break
            except openstack.exceptions.SDKException:
                assert time.monotonic() < end, f"{unit} did not come back"
                time.sleep(1)


def test_a_service_that_is_down_is_listed_and_the_others_are_told(
    south: Cloud, tmp_path: Path
) -> None:
    with stopped(south, "glance-api"):
        site = module("site_info", tmp_path, auth=south.auth, timeout=PATIENCE)["site"]
    assert not site["services"]["image"]["ok"]
    assert not site["usable"]
    assert any("image" in reason["found"] and reason["remedy"] for reason in site["reasons"])
    assert site["images"] is None
    assert site["flavors"]
    assert site["networks"]


def test_a_certificate_of_nobody_we_know_is_refused_with_the_remedy(
    north: Cloud, tmp_path: Path
) -> None:
    auth = {key: value for key, value in north.auth.items() if key != "cacert"}
    result = module("site_info", tmp_path, auth=auth, timeout=PATIENCE)
    assert result["failed"]
    assert "auth.cacert" in result["msg"]


def test_a_region_that_is_not_there(north: Cloud, tmp_path: Path) -> None:
    site = module("site_info", tmp_path, auth=north.auth, timeout=PATIENCE, region="west")["site"]
    assert not site["usable"]
    assert "choose one of north" in site["reasons"][0]["remedy"]
