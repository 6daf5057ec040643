# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which site is first, and why, for sites that site_info described."""

from __future__ import annotations

import copy
import datetime
import itertools
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
    FederationError,
    read_federation,
)
from ansible_collections.infn.cloud.plugins.module_utils._site_client import (
    Listed,
    Probe,
    survey,
)
from ansible_collections.infn.cloud.plugins.module_utils._site_model import read_flavor
from ansible_collections.infn.cloud.plugins.module_utils._site_ranking import rank, read_wish

ISSUER = "https://iam.cloud.example/"
TODAY = datetime.date(2026, 6, 1)
NAMES = ("bari", "pisa", "torino")


def flavor(name: str, cores: int, ram_mb: int, public: bool = True, **specs: str) -> dict[str, Any]:
    """As Nova lists it."""
    return {
        "id": name, "name": name, "vcpus": cores, "ram": ram_mb, "disk": 20, "extra_specs": specs,
        "os-flavor-access:is_public": public,
    }  # fmt: skip


def image(name: str, distro: str, version: str, **more: Any) -> dict[str, Any]:
    """As Glance lists it."""
    return {
        "id": name, "name": name, "status": "active", "visibility": "public", "tags": [],
        "os_type": "linux", "os_distro": distro, "os_version": version, **more,
    }  # fmt: skip


class Answers:
    """What the services of a site answer; site_info's own code makes its result of it.

    A stand-in for nothing but the network.
    """

    region, regions, project_id = "RegionOne", ["RegionOne"], "5f1d3c0a9e6b4c1f8a7d2e3b4c5d6e7f"
    clock_offset, requests = 0.0, 14
    access = SimpleNamespace(role_names=["reader"], project_name="catch-all")
    milliseconds = 20.0
    names = ("identity", "compute", "image", "network", "volume")

    def __init__(self, flavors: Any, images: Any) -> None:
        self._flavors, self._images = flavors, images
        self.endpoints = {name: f"https://{name}.example" for name in self.names}
        self.cores = {"limit": 80, "in_use": 16, "reserved": 0}

    def probes(self) -> dict[str, Probe]:
        versions = {"compute": {"current": "v2.1", "max_microversion": "2.96"}}
        return {n: Probe(self.milliseconds, versions.get(n, {}), None) for n in self.names}

    def flavors(self, *, all_of_them: bool) -> Listed:
        assert not all_of_them  # no administrator
        return Listed(self._flavors)

    def images(self) -> Listed:
        return Listed(self._images)

    def networks(self) -> Listed:
        return Listed([{"id": "n", "name": "private", "subnets": ["s"]}])

    def quotas(self, project_id: str) -> dict[str, Any]:
        assert project_id == self.project_id
        compute = {
            "instances": {"limit": 20, "in_use": 3, "reserved": 1},
            "cores": self.cores,
            "ram": {"limit": -1, "in_use": 0, "reserved": 0},
        }
        return {"compute": compute}

    def look(self) -> dict[str, Any]:
        """The result of the module site_info."""
        parts = ["flavors", "images", "networks", "quotas"]
        return {"changed": False, "site": survey(cast(Any, self), gather=parts)}


LOOK = Answers(
    [
        flavor("large", 8, 16384),
        flavor("small", 2, 4096),
        flavor("gpu", 16, 65536, gpu_number="2", gpu_model="A100", gpu_vendor="nvidia"),
    ],
    [
        image("ubuntu-24.04", "ubuntu", "24.04", architecture="x86_64", min_disk=10, min_ram=8192),
        image("debian-13", "debian", "13"),
    ],
).look()


def look() -> dict[str, Any]:
    return copy.deepcopy(LOOK)


def test_site_info_finds_nothing_against_it() -> None:
    assert look()["site"]["usable"], look()["site"]["reasons"]


def site(name: str, **agreement: Any) -> dict[str, Any]:
    return {
        "name": name,
        "coupling": "federated",
        "provider": "openstack",
        "credentials": {"cloud": name},
        "identity_provider": {"name": "iam", "protocol": "openid", "issuer": ISSUER},
        "sla": [
            {
                "group": "users/all",
                "issuer": ISSUER,
                "project": "catch-all",
                "doc_uuid": "0c54b4b8-9a5b-4b0e-8f0f-5f1f4c0a6d21",
                "start_date": "2026-01-01",
                "end_date": "2026-12-31",
                **agreement,
            }
        ],
    }


def ask(
    wish: Any = None,
    looks: Any = None,
    sites: Any = None,
    today: datetime.date = TODAY,
) -> dict[str, Any]:
    data = {
        "federation": {"name": "example", "domain": "cloud.example"},
        "sites": [site(name) for name in NAMES] if sites is None else sites,
    }
    looks = {name: look() for name in NAMES} if looks is None else looks
    wanted = read_wish({"group": "users/all", **(wish or {})})
    return rank(read_federation(data, "federation.yml"), looks, wanted, today)


def order(result: dict[str, Any]) -> list[str]:
    return [one["site"] for one in result["ranked"]]


def reasons(result: dict[str, Any], name: str = "pisa") -> list[str]:
    (found,) = [one["reasons"] for one in result["unusable"] if one["site"] == name]
    return list(found)


def changed(path: str, value: Any, name: str = "pisa") -> dict[str, Any]:
    """What was seen, with one thing changed at one site."""
    looks = {each: look() for each in NAMES}
    *parents, last = path.split("/")
    target = looks[name]["site"]
    for key in parents:
        target = target[int(key) if isinstance(target, list) else key]
    target[last] = value
    return looks


def test_equal_sites_are_in_the_order_of_their_names() -> None:
    for sites in itertools.permutations(site(name) for name in NAMES):
        result = ask(sites=list(sites))
        assert order(result) == ["bari", "pisa", "torino"]
        assert result["ranked"][1]["why"].startswith("after bari: equal but for the name; ")
        assert result["unusable"] == []


def test_nothing_given_is_changed_and_the_answer_repeats() -> None:
    looks = {name: look() for name in NAMES}
    kept = copy.deepcopy(looks)
    assert ask(looks=looks) == ask(looks=dict(reversed(looks.items())))
    assert looks == kept


def test_preference_before_room() -> None:
    looks = changed("quotas/catch-all/instances/limit", 2000)
    sites = [site("bari", preference=2), site("pisa"), site("torino", preference=1)]
    result = ask(looks=looks, sites=sites)
    assert order(result) == ["torino", "bari", "pisa"]
    whys = [one["why"].split(";")[0] for one in result["ranked"]]
    assert whys == [
        "before bari: preference 1 against preference 2",
        "after torino: preference 2 against preference 1",
        "after bari: no preference against preference 2",
    ]


def test_room_before_health_but_only_twice_the_room_counts() -> None:
    looks = changed("services/volume/ok", False)
    looks["pisa"]["site"]["quotas"]["catch-all"] = {
        "instances": {"limit": -1, "used": 9},
        "cores": {"limit": -1, "used": 9},
        "ram_mb": {"limit": -1, "used": 9},
    }
    result = ask(looks=looks)
    assert order(result) == ["pisa", "bari", "torino"]
    assert result["ranked"][0]["room"] == -1
    why = result["ranked"][0]["why"]
    assert why.startswith("before bari: room without end against room for 16; ")
    # 16 against 17 to 31 is no difference, so the failing service decides.
    looks["pisa"]["site"]["quotas"]["catch-all"]["instances"] = {"limit": 31, "used": 0}
    result = ask(looks=looks)
    assert order(result) == ["bari", "torino", "pisa"]
    why = result["ranked"][2]["why"]
    assert why.startswith("after torino: failing: volume against all services answer; ")


def test_latency_decides_last_and_what_is_not_known_is_last() -> None:
    looks = changed("services/compute/latency_ms", 5)
    del looks["bari"]["site"]["services"]["compute"]["latency_ms"]
    result = ask(looks=looks)
    assert order(result) == ["pisa", "torino", "bari"]
    assert [one["latency_ms"] for one in result["ranked"]] == [5, 20, None]
    assert "after torino: latency not known against 20 ms" in result["ranked"][2]["why"]


def test_room_is_what_the_smaller_quota_leaves() -> None:
    room = ask({"cores": 8})["ranked"][0]
    assert (room["flavor"], room["room"]) == ("large", 8)  # (80 - 16) / 8
    sites = [site("bari", quotas={"instances": 6, "cores": -1, "ram_mb": 32768})]
    room = ask(sites=sites)["ranked"][0]
    assert (room["flavor"], room["room"]) == ("small", 2)  # 6 - 4
    room = ask({"cores": 8}, sites=sites)["ranked"][0]
    assert room["room"] == 2  # 32768 / 16384


def test_too_little_room_is_a_reason() -> None:
    result = ask({"count": 17})
    assert order(result) == []
    assert reasons(result) == [
        "free quota: instances with 16 of 20 left is enough for 16 of 17 servers"
    ]


def test_room_that_is_not_known_comes_after_any_that_is() -> None:
    for path, value in (
        ("quotas", {"other": {}}),
        ("quotas/catch-all/cores/used", None),
        ("quotas/catch-all/cores", {}),
    ):
        result = ask(looks=changed(path, value, "bari"))
        assert order(result) == ["pisa", "torino", "bari"]
        assert result["ranked"][2]["room"] is None
        assert "room not known against room for 16" in result["ranked"][2]["why"]


def test_quotas_of_a_project_that_the_agreement_names_by_its_id() -> None:
    sites = [site("bari", project="5f1d3c0a9e6b4c1f8a7d2e3b4c5d6e7f")]
    assert ask(sites=sites)["ranked"][0]["room"] == 16


@pytest.mark.parametrize(
    ("agreement", "says"),
    [
        ({"group": "users/other"}, "no agreement with group users/all"),
        ({"end_date": "2026-05-31"}, "ended on 2026-05-31"),
        ({"start_date": "2026-06-02"}, "begins on 2026-06-02"),
    ],
)
def test_only_agreements_in_force_count(agreement: dict[str, Any], says: str) -> None:
    result = ask(sites=[site("bari"), site("pisa", **agreement)])
    assert order(result) == ["bari"]
    assert says in reasons(result)[0]
    assert len(reasons(result)) == 1


def test_first_and_last_day_of_an_agreement_count() -> None:
    for day, usable in (("2025-12-31", 0), ("2026-01-01", 3), ("2026-12-31", 3), ("2027-01-01", 0)):
        assert len(ask(today=datetime.date.fromisoformat(day))["ranked"]) == usable


def test_of_two_agreements_the_preferred_one() -> None:
    both = site("bari")
    both["sla"] += site(
        "bari", project="best", preference=1, doc_uuid="1c54b4b8-9a5b-4b0e-8f0f-5f1f4c0a6d21"
    )["sla"]
    assert ask(sites=[both])["ranked"][0]["project"] == "best"


def test_the_issuer_is_compared_with_its_slash() -> None:
    result = ask({"issuer": ISSUER})
    assert order(result) == list(NAMES)
    result = ask({"issuer": ISSUER.rstrip("/")})
    assert order(result) == []
    assert reasons(result) == [
        "its agreement with group users/all is for the issuer https://iam.cloud.example/, not"
        " https://iam.cloud.example; issuers are compared letter by letter"
    ]


def test_a_site_that_nobody_looked_at_or_that_failed() -> None:
    looks = {"bari": look(), "pisa": {"failed": True, "msg": "the login was refused"}}
    result = ask(looks=looks)
    assert order(result) == ["bari"]
    assert reasons(result, "pisa") == ["site_info failed: the login was refused"]
    assert reasons(result, "torino") == ["site_info has not looked at it"]
    assert result["ranked"][0]["why"].startswith("the only one that can; ")


def test_reasons_of_site_info_and_ours_are_all_told() -> None:
    looks = changed("reasons", [{"found": "no network", "remedy": "make one"}])
    looks["pisa"]["site"]["usable"] = False
    result = ask({"flavor": "tiny"}, looks=looks)
    assert reasons(result) == ["no network; make one", "no flavor tiny"]


@pytest.mark.parametrize(
    ("wish", "chosen"),
    [
        ({}, "small"),
        ({"cores": 3}, "large"),
        ({"ram_mb": 4097}, "large"),
        ({"flavor": "large"}, "large"),
        ({"flavor": "gpu"}, "gpu"),
        ({"gpu": {}}, "gpu"),
        ({"gpu": {"number": 2, "model": "a100"}}, "gpu"),
        ({"cores": 16}, None),  # the only one that large has GPUs
        ({"gpu": {"number": 3}}, None),
        ({"gpu": {"model": "H100"}}, None),
        ({"flavor": "Small"}, None),
    ],
)
def test_the_smallest_flavor_that_suits(wish: dict[str, Any], chosen: Any) -> None:
    result = ask(wish)
    assert [one["flavor"] for one in result["ranked"]] == ([chosen] * 3 if chosen else [])
    if not chosen:
        assert reasons(result)[0].startswith("no flavor ")


def test_a_flavor_that_is_not_public_is_taken_last() -> None:
    both = [flavor("mine", 1, 1024, public=False), flavor("small", 2, 4096)]
    looks = changed("flavors", [read_flavor(one) for one in both])
    assert ask(looks=looks)["ranked"][1]["flavor"] == "small"
    assert ask({"flavor": "mine"}, looks=looks)["ranked"][0]["site"] == "pisa"


@pytest.mark.parametrize(
    ("wished", "chosen"),
    [
        ({"name": "debian-13"}, ("debian-13", "small")),
        ({"os_distro": "Debian"}, ("debian-13", "small")),
        ({"os_distro": "debian", "os_version": 13}, ("debian-13", "small")),
        ({"os_type": "linux"}, ("debian-13", "small")),
        ({"os_distro": "ubuntu", "os_version": "24.04"}, ("ubuntu-24.04", "large")),
        ({"architecture": "x86_64"}, ("ubuntu-24.04", "large")),
    ],
)
def test_the_flavor_holds_the_image(wished: dict[str, Any], chosen: tuple[str, str]) -> None:
    best = ask({"image": wished})["ranked"][0]
    assert (best["image"], best["flavor"]) == chosen


def test_images_that_are_not_there() -> None:
    result = ask({"image": {"name": "debian-13", "os_version": "12"}})
    assert reasons(result) == ["no active image debian-13 with os_version 12"]
    result = ask({"image": {"os_distro": "alma", "os_version": "9"}})
    assert reasons(result) == ["no active image with os_distro alma and os_version 9"]
    result = ask({"image": {"name": "ubuntu-24.04"}, "flavor": "small"})
    assert reasons(result)[0].startswith("the image ubuntu-24.04 needs 8192 MiB")
    looks = changed("images", [{**look()["site"]["images"][0], "status": "queued"}])
    assert order(ask({"image": {"name": "debian-13"}}, looks=looks)) == ["bari", "torino"]


def test_a_list_that_was_not_read_whole_is_said_to_be() -> None:
    looks = changed("truncated", ["flavors"])
    assert "more flavors than were read" in reasons(ask({"flavor": "x"}, looks=looks))[0]
    looks = changed("images", None)
    wish = {"image": {"name": "debian-13"}}
    assert "does not tell images" in reasons(ask(wish, looks=looks))[0]


def test_the_explanation_has_a_line_for_each_site() -> None:
    result = ask(looks={"bari": look(), "pisa": look()})
    assert result["explanation"] == [
        "1. bari: before pisa: equal but for the name; flavor small, no preference, room for 16,"
        " all services answer, 20 ms",
        "2. pisa: after bari: equal but for the name; flavor small, no preference, room for 16,"
        " all services answer, 20 ms",
        "-  torino: site_info has not looked at it",
    ]


def test_the_example_of_the_documentation() -> None:
    page = Path(__file__).parents[4] / "docs" / "federation_documents.md"
    text = page.read_text(encoding="utf-8").partition("## Which site for which wish")[2]
    tasks, lines = re.findall(r"```(?:yaml)?\n(.*?)```", text, re.DOTALL)
    wish = yaml.safe_load(tasks)[1]["vars"]["wish"]
    torino = Answers([flavor("large", 8, 16384)], [image("ubuntu-24.04", "ubuntu", "24.04")])
    pisa = Answers([flavor("m1.large", 8, 16384)], [image("Ubuntu 24.04", "ubuntu", "24.04")])
    torino.milliseconds, pisa.milliseconds = 21.0, 9.0
    pisa.cores = {"limit": 2000, "in_use": 0}
    looks = {"bari": look(), "pisa": pisa.look(), "torino": torino.look()}
    group = wish["group"]
    sites = [
        site("bari", group=group, end_date="2026-05-31"),
        site("pisa", group=group, preference=2),
        site("torino", group=group, preference=1),
    ]
    result = ask(wish, looks=looks, sites=sites)
    assert result["explanation"] == lines.splitlines()


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"group": None}, "the wish, group: missing"),
        ({"cpus": 4}, "the wish, cpus: unknown key"),
        ({"count": 0}, "the wish, count: expected a whole number from 1 on"),
        ({"flavor": "large", "cores": 2}, "the wish, cores: the flavor says it"),
        ({"gpu": 1}, "the wish, gpu: expected a mapping"),
        ({"image": {}}, "the wish, image, name: missing"),
        ({"image": {"os_version": True}}, "the wish, image, os_version: expected text"),
        ({"issuer": "iam"}, "the wish, issuer: 'iam' is not valid"),
    ],
)
def test_a_wish_is_checked(wish: dict[str, Any], says: str) -> None:
    with pytest.raises(FederationError) as caught:
        read_wish({"group": "users/all", **wish})
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(says)
