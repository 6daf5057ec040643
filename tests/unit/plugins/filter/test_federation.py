# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters give the roles what they take, and name the host that does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.infn.cloud.plugins.filter import federation
from ansible_collections.infn.cloud.plugins.filter.federation import (
    as_dicts,
    by_family,
    clock_skew,
    failover_servers,
    host_names,
    keystone_endpoints,
    site_urls,
    swift_devices,
    swift_disks,
    swift_policy_affinity,
    swift_policy_faults,
    swift_policy_rings,
    swift_servers,
    wan_mesh_keys,
    wan_mesh_peers,
)

SITES: dict[str, Any] = yaml.safe_load("""
cnaf:
  region: 1
  region_name: CNAF
  coupling: backbone
  endpoint: cnaf.example.org
  hosts:
    cnaf-gw1: {address: 192.0.2.11, zone: 1}
    cnaf-gw2: {address: 192.0.2.12, zone: 1}
    cnaf-st1: {address: 192.0.2.21, zone: 2}
bari:
  region: 2
  region_name: BARI
  coupling: backbone
  endpoint: 192.0.2.75
  hosts:
    bari-gw1: {address: 192.0.2.75, zone: 1}
    bari-st1: {address: "2001:db8::21", zone: 1}
rome:
  region: null
  region_name: rome
  coupling: federated
  endpoint: rome.example.org
  hosts:
    rome-a: {address: 192.0.2.130, zone: 1}
""")
PORTS = [5001, 5000]


def test_every_filter_is_offered_under_its_own_name() -> None:
    offered = federation.FilterModule().filters()
    assert {name: function.__name__ for name, function in offered.items()} == {
        name: name for name in offered
    }


def test_values_become_dictionaries() -> None:
    assert as_dicts(["a", "b"], "name") == [{"name": "a"}, {"name": "b"}]
    assert as_dicts([], "name") == []


def test_a_family_per_address() -> None:
    given = ["192.0.2.1", "192.0.2.0/24", "192.0.2.1/24", "0.0.0.0/0", "::/0", "2001:db8::1"]
    families = ["ip", "ip", "ip", "ip", "ip6", "ip6"]
    assert by_family(given) == list(zip(given, families))


@pytest.mark.parametrize("wrong", ["cnaf.example.org", "192.0.2.300", "192.0.2.0/33", ""])
def test_what_is_no_address_is_named(wrong: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"'{wrong}' is no IP address or network"):
        by_family(["192.0.2.1", wrong])


def bounds(earliest: float, latest: float) -> dict[str, float]:
    return {"earliest": earliest, "latest": latest}


def test_overlapping_measurements_prove_no_skew() -> None:
    clocks = {"a": bounds(-0.5, 0.5), "b": bounds(0.4, 1.5)}
    assert clock_skew(clocks)["seconds"] == 0.0


def test_the_gap_between_measurements_is_the_skew() -> None:
    clocks = {"a": bounds(-0.1, 0.1), "behind": bounds(-3.2, -3.0), "ahead": bounds(2.0, 2.5)}
    assert clock_skew(clocks) == {"seconds": 5.0, "earliest": "behind", "latest": "ahead"}


def test_a_slow_answer_hides_no_other_host() -> None:
    """A wide measurement proves nothing of its own host; the others' still count."""
    clocks = {"slow": bounds(-60.0, 60.0), "a": bounds(1.9, 2.0), "b": bounds(-0.1, 0.1)}
    assert clock_skew(clocks) == {"seconds": 1.8, "earliest": "b", "latest": "a"}


@pytest.mark.parametrize("clocks", [{}, {"a": {"skipped": True}}, {"a": bounds(9.0, 9.1)}])
def test_one_clock_or_none_differs_from_nothing(clocks: dict[str, dict[str, float]]) -> None:
    assert clock_skew(clocks)["seconds"] == 0.0


def test_an_endpoint_per_region_and_interface() -> None:
    assert keystone_endpoints({"A": "https://a", "B": "https://b"}, "identity") == [
        {"service_type": "identity", "interface": interface, "region": region, "url": url}
        for region, url in (("A", "https://a"), ("B", "https://b"))
        for interface in ("public", "internal")
    ]
    (only,) = keystone_endpoints({"A": "https://a"}, "identity", ["admin"])
    assert only["interface"] == "admin"


def test_a_host_has_its_full_name_first() -> None:
    names = host_names(SITES, "example.org")
    assert names[0] == {"address": "192.0.2.11", "names": ["cnaf-gw1.example.org", "cnaf-gw1"]}
    assert len(names) == 6


def test_a_url_per_region_of_the_backbone() -> None:
    assert site_urls(SITES, "https://%s:8080/v1/AUTH_$(project_id)s") == {
        "CNAF": "https://cnaf.example.org:8080/v1/AUTH_$(project_id)s",
        "BARI": "https://192.0.2.75:8080/v1/AUTH_$(project_id)s",
    }


def test_a_server_on_this_host_is_reached_in_clear() -> None:
    assert failover_servers(["cnaf-gw1"], SITES, "cnaf-gw1", PORTS) == [
        {"name": "cnaf-gw1", "address": "127.0.0.1", "port": 5001}
    ]


def test_the_nearest_server_comes_first_and_other_sites_are_backups() -> None:
    servers = failover_servers(["bari-gw1", "cnaf-gw2", "cnaf-gw1"], SITES, "cnaf-gw1", PORTS)
    assert servers == [
        {"name": "cnaf-gw1", "address": "127.0.0.1", "port": 5001},
        {"name": "cnaf-gw2", "address": "192.0.2.12", "port": 5000, "tls": True, "backup": False},
        {"name": "bari-gw1", "address": "192.0.2.75", "port": 5000, "tls": True, "backup": True},
    ]


def test_a_site_without_a_server_uses_one_other_site_at_a_time() -> None:
    servers = failover_servers(["cnaf-gw1", "bari-gw1", "cnaf-gw2"], SITES, "rome-a", PORTS)
    assert [(server["name"], server.get("backup", False)) for server in servers] == [
        ("cnaf-gw1", False),
        ("bari-gw1", True),
        ("cnaf-gw2", False),
    ]
    assert all(server["tls"] for server in servers)


def test_no_server_is_no_error() -> None:
    assert failover_servers([], SITES, "cnaf-gw1", PORTS) == []


def test_a_device_per_disk() -> None:
    disks = {"cnaf-st1": [{"name": "d1"}, {"name": "d2", "weight": 50}], "bari-st1": []}
    first, second = swift_devices(SITES, disks, 6200, 6210)
    assert first == {
        "region": 1,
        "zone": 2,
        "ip": "192.0.2.21",
        "port": 6200,
        "device": "d1",
        "weight": 100.0,
        "replication_ip": "192.0.2.21",
        "replication_port": 6210,
        "meta": "cnaf-st1",
        "drain": False,
    }
    assert (second["device"], second["weight"]) == ("d2", 50.0)


def test_a_disk_that_is_drained_keeps_its_weight() -> None:
    (device,) = swift_devices(SITES, {"bari-st1": [{"name": "d1", "weight": 0}]}, 6200, 6210)
    assert (device["weight"], device["ip"]) == (0.0, "2001:db8::21")


def test_a_disk_is_drained_by_itself_or_with_its_host() -> None:
    disks = {
        "cnaf-st1": [{"name": "d1", "drain": True}, {"name": "d2"}],
        "bari-st1": [{"name": "d1"}],
    }
    devices = swift_devices(SITES, swift_disks(disks, ["bari-st1"]), 6200, 6210)
    assert [device["drain"] for device in devices] == [True, False, True]
    assert {device["weight"] for device in devices} == {100.0}, "what a step is a share of"


def test_a_disk_leaves_by_itself_or_with_its_host() -> None:
    disks = {"cnaf-st1": [{"name": "d1"}, {"name": "d2"}], "bari-st1": [{"name": "d1"}]}
    left = swift_disks(disks, [], ["cnaf-st1/d2", "bari-st1"])
    assert left == {"cnaf-st1": [{"name": "d1", "drain": False}], "bari-st1": []}


def test_a_site_without_a_region_has_no_place_in_the_rings() -> None:
    with pytest.raises(AnsibleFilterError, match="rome-a: its site rome has no region"):
        swift_devices(SITES, {"rome-a": [{"name": "d1"}]}, 6200, 6210)


def test_three_servers_per_storage_host() -> None:
    servers = swift_servers(SITES, ["bari-st1"])
    assert [(server["kind"], server["port"]) for server in servers] == [
        ("account", 6202),
        ("container", 6201),
        ("object", 6200),
    ]
    assert {(server["host"], server["address"]) for server in servers} == {
        ("bari-st1", "2001:db8::21")
    }


def test_a_host_outside_the_federation_is_named() -> None:
    complaint = "elsewhere: in no site of the federation"
    with pytest.raises(AnsibleFilterError, match=complaint):
        swift_servers(SITES, ["bari-st1", "elsewhere"])
    with pytest.raises(AnsibleFilterError, match=complaint):
        swift_devices(SITES, {"elsewhere": []}, 6200, 6210)
    with pytest.raises(AnsibleFilterError, match=complaint):
        failover_servers(["cnaf-gw1"], SITES, "elsewhere", PORTS)
    with pytest.raises(AnsibleFilterError, match=complaint):
        failover_servers(["elsewhere"], SITES, "cnaf-gw1", PORTS)


PORTS_OF_MESH = {"cnaf-gw1": 51820, "bari-gw1": 51820, "bari-st1": 51830}


def test_hosts_of_other_backbone_sites_are_peers() -> None:
    assert wan_mesh_peers(SITES, "cnaf-gw1", {"bari-gw1": "nat.example.org"}, PORTS_OF_MESH) == [
        {"name": "bari-gw1", "address": "192.0.2.75", "endpoint": "nat.example.org:51820"},
        {"name": "bari-st1", "address": "2001:db8::21", "endpoint": "[2001:db8::21]:51830"},
    ]
    peers = wan_mesh_peers(SITES, "bari-st1", {}, dict.fromkeys(SITES["cnaf"]["hosts"], 51820))
    assert [peer["name"] for peer in peers] == ["cnaf-gw1", "cnaf-gw2", "cnaf-st1"]


def test_a_stranger_has_no_peers() -> None:
    with pytest.raises(AnsibleFilterError, match="elsewhere: in no site of the federation"):
        wan_mesh_peers(SITES, "elsewhere", {}, {})


@pytest.mark.parametrize(("here", "of_c"), [("a", "C-in-a"), ("b", "C-in-b")])
def test_own_word_then_own_memory_then_that_of_others(here: str, of_c: str) -> None:
    said = {
        "a": "# made by a program\n\na - - A-new\nb 192.0.2.2 192.0.2.2:1 B-old\n"
        "c 192.0.2.3 192.0.2.3:1 C-in-a\nd 192.0.2.4 192.0.2.4:1 -\n",
        "b": "b - - B-new\na 192.0.2.1 192.0.2.1:1 A-old\nc 192.0.2.3 192.0.2.3:1 C-in-b\n"
        "e 192.0.2.5 192.0.2.5:1 E-in-b\n",
    }
    known = {"a": "A-new", "b": "B-new", "c": of_c, "e": "E-in-b"}
    assert wan_mesh_keys(said, here) == known


def test_hosts_that_say_nothing_are_unknown() -> None:
    assert wan_mesh_keys({"a": "", "b": "# nothing yet\n"}, "a") == {}


# --- storage policies

POLICIES: list[dict[str, Any]] = [
    {"index": 0, "name": "all", "default": True, "replicas": 2},
    {"index": 1, "name": "near", "regions": ["BARI"], "replicas": 1, "read_order": ["BARI"]},
]
DISKS: dict[str, list[dict[str, Any]]] = {
    "cnaf-st1": [{"name": "d1"}],
    "bari-st1": [{"name": "d1"}, {"name": "fast", "policies": ["near"]}],
}


def test_disks_of_a_policy_are_in_its_ring_only() -> None:
    assert [device["device"] for device in swift_devices(SITES, DISKS, 6201, 6211)] == ["d1", "d1"]
    rings = swift_policy_rings(POLICIES, SITES, DISKS, 14)
    found = {
        ring["name"]: [(device["meta"], device["device"]) for device in ring["devices"]]
        for ring in rings
    }
    assert found == {
        "object": [("cnaf-st1", "d1"), ("bari-st1", "d1")],
        "object-1": [("bari-st1", "d1"), ("bari-st1", "fast")],
    }
    assert [(ring["part_power"], ring["replicas"]) for ring in rings] == [(14, 2), (14, 1)]


def test_a_code_with_more_fragments_than_disks_is_refused() -> None:
    coded = {
        "index": 2,
        "name": "coded",
        "type": "erasure_coding",
        "regions": ["BARI"],
        "erasure_code": {"scheme": "isa_l_rs_cauchy", "data": 2, "parity": 1},
    }
    with pytest.raises(AnsibleFilterError, match=r"3 fragments.* BARI has 1 disks for it"):
        swift_policy_rings([*POLICIES, coded], SITES, DISKS, 14)


def test_a_disk_for_a_policy_that_is_not_there_is_named() -> None:
    with pytest.raises(AnsibleFilterError, match="bari-st1: disk fast is for a policy 'near'"):
        swift_policy_rings(POLICIES[:1], SITES, DISKS, 14)


def test_faults_and_affinities_of_policies() -> None:
    assert swift_policy_faults(POLICIES, ["BARI"]) == []
    assert "no region 'BARI'" in swift_policy_faults(POLICIES, ["CNAF"])[0]
    assert swift_policy_affinity(POLICIES, SITES, "CNAF") == [
        {"index": 1, "read_affinity": "r1=100, r2=200"}
    ]
