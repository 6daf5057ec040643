# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused of projects and records, and what becomes of the others."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.filter.dns import dns_endpoint_challenges
from ansible_collections.infn.cloud.plugins.module_utils._dns_zones import (
    absent,
    faults,
    pointers,
    reverse_zone,
    zones,
)

ZONE = "cloud.example"
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldCE="  # 35 bytes


def project(name: str = "cms", *grants: dict[str, Any], **more: Any) -> dict[str, Any]:
    chosen = list(grants) or [{"types": {"A": 4}}]
    return {"name": name, "keys": [{"name": "deploy", "secret": SECRET, "grants": chosen}], **more}


def test_what_is_right_has_no_faults() -> None:
    full = project(
        "cms", {"types": {"A": 8, "AAAA": 8}}, {"name": "_acme-challenge", "types": {"TXT": 4}},
        {"name": "mail", "types": {"MX": 2}, "subtree": False}, max_records=100,
    )  # fmt: skip
    assert faults(ZONE, [full, {"name": "old", "state": "absent"}], served=["cms", "old"]) == []


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (project("CMS"), "becomes a label"),
        (project("-cms"), "becomes a label"),
        (project("c.m"), "becomes a label"),
        (project("x" * 64), "becomes a label"),
        (project("cloud"), "has a name cloud.cloud.example of its own"),
        (project("cms", state="gone"), "present or absent"),
        (project("cms", max_records=0), "max_records is a number from 1 on"),
        (project("cms", max_records=True), "max_records is a number from 1 on"),
        (project("cms", {"types": {"NS": 2}}), "type NS cannot be granted"),
        (project("cms", {"types": {"DS": 2}}), "type DS cannot be granted"),
        (project("cms", {"types": {"A": 0}}), "from 1 to 100"),
        (project("cms", {"types": {"A": "4"}}), "from 1 to 100"),
        (project("cms", {"types": {}}), "names its types"),
        (project("cms", {"name": "x.cloud.example.", "types": {"A": 1}}), "outside of"),
        (project("cms", {"name": "no_..x", "types": {"A": 1}}), "is no name below"),
        (project("cms", {"name": "_acme-challenge.w", "types": {"TXT": 2}}), "room for 4 TXT"),
        ({"name": "cms", "keys": [{"name": "k", "secret": SECRET}]}, "may write nothing"),
        ({"name": "cms", "keys": [{"name": "k", "secret": "c2hvcnQ=",
                                   "grants": [{"types": {"A": 1}}]}]}, "32 bytes at least"),
        ({"name": "cms", "keys": [{"name": "k", "grants": [{"types": {"A": 1}}]}]},
         "32 bytes at least"),
    ],
)  # fmt: skip
def test_faults_of_one_project(bad: dict[str, Any], said: str) -> None:
    (found,) = faults(ZONE, [bad], reserved=["cloud", "catalog"])
    assert said in found


def test_grants_that_overlap_are_refused() -> None:
    """A key for all, and one for a name of it: each could undo what the other wrote."""
    inner = project("cms", {"types": {"A": 4}}, {"name": "app", "types": {"A": 1, "TXT": 4}})
    (found,) = faults(ZONE, [inner])
    assert "deploy.cms.cloud.example at cms.cloud.example" in found
    assert "overlap in A:" in found
    apart = project("cms", {"name": "app", "types": {"A": 1}}, {"name": "web", "types": {"A": 1}})
    assert faults(ZONE, [apart]) == []
    exact = project(
        "cms", {"types": {"A": 1}, "subtree": False}, {"name": "app", "types": {"A": 1}}
    )
    assert faults(ZONE, [exact]) == []
    known = {"name": "app", "types": {"TXT": 4}, "shared": True}
    assert faults(ZONE, [project("cms", known, known)]) == []
    (found,) = faults(ZONE, [project("cms", known, {**known, "shared": False})])
    assert "give both 'shared: true'" in found


def test_each_door_proves_its_own_names_and_the_one_they_share() -> None:
    hosts = {"gw": {"services": ["gateway"]}, "st": {"services": ["swift_storage"]}}
    sites = {
        site: {"hosts": {f"{site}-{host}": about for host, about in hosts.items()}}
        for site in ("bari", "cnaf")
    }
    secrets = {"bari-gw": SECRET, "cnaf-gw": SECRET}
    told = dns_endpoint_challenges(sites, "gateway", ZONE, "portal", secrets)
    assert faults(ZONE, told["projects"], told["records"]) == []
    (made,) = zones(ZONE, told["projects"], [])[1:]
    assert 'grant "bari-gw.acme.cloud.example" name bari-gw.acme.cloud.example. TXT(4);' in str(
        made
    )
    assert [one["name"] for one in told["records"]] == [
        f"_acme-challenge.{one}" for one in ("bari-gw", "bari", "cnaf-gw", "cnaf")
    ]
    assert told["challenge"] == "portal.acme.cloud.example"
    (found,) = faults(
        ZONE,
        dns_endpoint_challenges(sites, "gateway", ZONE, "portal", {"bari-gw": SECRET})["projects"],
    )
    assert "key cnaf-gw needs a secret" in found
    assert not any(dns_endpoint_challenges(sites, "gateway", ZONE, "portal", {}).values())


def test_a_project_that_vanished_from_the_list_is_asked_back() -> None:
    (found,) = faults(ZONE, [project()], served=["cms", "belle2"])
    assert "belle2.cloud.example is served and delegated" in found
    assert "state: absent" in found


def test_names_are_unique() -> None:
    (found,) = faults(ZONE, [project(), project()])
    assert "listed twice" in found


def test_a_record_in_a_projects_zone_is_the_projects() -> None:
    record = {"name": "www.cms", "type": "A", "values": ["192.0.2.1"]}
    (found,) = faults(ZONE, [project()], [record])
    assert "cms.cloud.example belongs to a project" in found


def test_a_name_below_a_wildcard_needs_addresses_of_its_own() -> None:
    """RFC 4592: the challenge makes shop.apps exist, and the wildcard covers it no more."""
    wildcard = {"name": "*.apps", "type": "A", "values": ["192.0.2.1"]}
    challenge = {"name": "_acme-challenge.shop.apps", "type": "CNAME", "values": ["x.example."]}
    (found,) = faults(ZONE, [], [wildcard, challenge])
    assert "makes shop.apps.cloud.example exist" in found
    own = {"name": "shop.apps", "type": "A", "values": ["192.0.2.2"]}
    assert faults(ZONE, [], [wildcard, challenge, own]) == []
    apex = {"name": "_acme-challenge.apps", "type": "CNAME", "values": ["x.example."]}
    assert faults(ZONE, [], [wildcard, apex]) == []


def test_addresses_have_names_and_so_has_what_is_below() -> None:
    given = {"name": "myip", "addresses": ["192.0.2.64/27", "198.51.100.0/23"]}
    assert faults(ZONE, [given]) == []
    _first, made = zones(ZONE, [given])
    assert made["lines"] == [
        "$GENERATE 64-95 192-0-2-$ A 192.0.2.$",
        "$GENERATE 64-95 *.192-0-2-$ A 192.0.2.$",
        "$GENERATE 0-255 198-51-100-$ A 198.51.100.$",
        "$GENERATE 0-255 *.198-51-100-$ A 198.51.100.$",
        "$GENERATE 0-255 198-51-101-$ A 198.51.101.$",
        "$GENERATE 0-255 *.198-51-101-$ A 198.51.101.$",
    ]
    other = zones(ZONE, [{**given, "addresses": ["192.0.2.64/27"]}])[1]
    assert made["file"].startswith("myip.cloud.example.db.")
    assert other["file"] != made["file"], "a file is written once"
    assert zones(ZONE, [project()])[1]["file"] == "cms.cloud.example.db"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"addresses": ["192.0.2.1/24"]}, "has host bits set; give networks such as"),
        ({"addresses": ["2001:db8::/120"]}, "give networks such as"),
        ({"addresses": ["192.0.2.0/24", "192.0.2.64/27"]}, "overlap"),
        ({"addresses": ["10.0.0.0/19"]}, "more than 4096 addresses"),
        ({"addresses": ["192.0.2.0/24"], "max_records": 9}, "nobody can write there"),
    ],
)
def test_addresses_that_cannot_have_names(more: dict[str, Any], said: str) -> None:
    (found,) = faults(ZONE, [{"name": "myip", **more}])
    assert found.startswith("project myip: ")
    assert said in found


def test_zones_and_their_rules() -> None:
    found = zones(
        ZONE,
        [
            project(
                "cms",
                {"types": {"TXT": 4, "A": 2}},
                {"name": "w", "subtree": False, "types": {"MX": 1}},
                max_records=9,
            ),
            {"name": "old", "state": "absent"},
        ],
        ["192.0.2.0/24"],
    )  # fmt: skip
    assert [one["zone"] for one in found] == [ZONE, "cms.cloud.example", "2.0.192.in-addr.arpa"]
    assert found[1]["policy"] == [
        'grant "deploy.cms.cloud.example" subdomain cms.cloud.example. A(2) TXT(4);',
        'grant "deploy.cms.cloud.example" name w.cms.cloud.example. MX(1);',
    ]
    assert found[1]["keys"] == [{"name": "deploy.cms.cloud.example", "secret": SECRET}]
    assert found[1]["max_records"] == 9
    assert absent(ZONE, [{"name": "old", "state": "absent"}]) == ["old.cloud.example"]


@pytest.mark.parametrize(
    ("network", "zone"),
    [
        ("192.0.2.0/24", "2.0.192.in-addr.arpa"),
        ("10.0.0.0/8", "10.in-addr.arpa"),
        ("2001:db8:1::/48", "1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"),
    ],
)
def test_reverse_zones(network: str, zone: str) -> None:
    assert reverse_zone(network) == zone


@pytest.mark.parametrize("network", ["192.0.2.0/25", "0.0.0.0/0", "192.0.2.1/24", "2001:db8::/33"])
def test_a_reverse_zone_begins_at_a_label(network: str) -> None:
    (found,) = faults(ZONE, [], networks=[network])
    assert network in found


def test_addresses_point_back_to_their_first_name() -> None:
    records = [
        {"name": "gw1", "type": "A", "values": ["192.0.2.1", "203.0.113.9"]},
        {"name": "other", "type": "A", "values": ["192.0.2.1"]},
        {"name": "*.apps", "type": "A", "values": ["192.0.2.7"]},
        {"name": "gone", "type": "A", "values": ["192.0.2.8"], "state": "absent"},
        {"name": "text", "type": "TXT", "values": ["192.0.2.9"]},
    ]
    assert pointers(ZONE, records, ["192.0.2.0/24"]) == [
        {"name": "1.2.0.192.in-addr.arpa.", "type": "PTR", "values": ["gw1.cloud.example."]}
    ]
