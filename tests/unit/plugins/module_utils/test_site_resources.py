# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a site has what differs and no more, and refuses what cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._keystone_resources import PlanError
from ansible_collections.infn.cloud.plugins.module_utils._site_resources import (
    Snapshot,
    make_plan,
    rule_name,
    users_own,
)

NETWORK = {
    "name": "net",
    "project": "cms",
    "cidr": "192.168.1.0/24",
    "dhcp": True,
    "dns_servers": [],
    "external_network": "public",
    "description": "",
    "state": "present",
}
RULE = {
    "project": "cms",
    "group": "default",
    "protocol": "tcp",
    "port_min": 22,
    "port_max": None,
    "remote": "192.0.2.1/32",
    "state": "present",
}
PUBLIC = {"id": "ext", "name": "public", "project_id": "a", "router:external": True}


def wish(**more: Any) -> dict[str, Any]:
    return {"quotas": [], "networks": [], "security_rules": [], "images": [], **more}


def site(**more: Any) -> Snapshot:
    return Snapshot(**{"projects": {"cms": "p1"}, "networks": [PUBLIC], **more})


def words(plan: list[Any]) -> list[tuple[str, str]]:
    return [(operation.action, operation.kind) for operation in plan]


def test_quotas_that_differ_are_set_service_by_service() -> None:
    have = {"cores": 10, "instances": 5, "gigabytes": 1000}
    asked = [
        {"project": "cms", "quotas": {"cores": 20, "instances": 5, "gigabytes": -1, "ram_mb": None}}
    ]
    plan = make_plan(wish(quotas=asked), site(quotas={"cms": have}))
    assert words(plan) == [("update", "compute_quotas"), ("update", "volume_quotas")]
    assert plan[0].changes == {"cores": {"before": 10, "after": 20}}
    assert plan[0].body == {"cores": 20}
    assert plan[1].body == {"gigabytes": -1}


def test_a_quota_that_the_site_does_not_have_is_refused() -> None:
    with pytest.raises(PlanError, match="volumes for cms"):
        make_plan(
            wish(quotas=[{"project": "cms", "quotas": {"volumes": 1}}]),
            site(quotas={"cms": {"cores": 1}}),
        )


def test_quotas_go_back_to_the_defaults() -> None:
    asked = [{"project": "cms", "quotas": {}, "state": "absent"}]
    current = site(quotas={"cms": {"cores": 10}}, defaults={"cms": {"cores": 20}})
    plan = make_plan(wish(quotas=asked), current)
    assert words(plan) == [("update", "compute_quotas")]
    assert plan[0].body == {}
    same = site(quotas={"cms": {"cores": 20}}, defaults={"cms": {"cores": 20}})
    assert make_plan(wish(quotas=asked), same) == []


def test_a_network_with_its_subnet_and_router() -> None:
    plan = make_plan(wish(networks=[NETWORK]), site())
    assert words(plan) == [("create", "network"), ("create", "subnet"), ("create", "router")]
    assert plan[2].body["external_gateway_info"] == {"network_id": "ext"}


def complete(**more: Any) -> Snapshot:
    return site(
        networks=[PUBLIC, {"id": "n", "name": "net", "project_id": "p1"}],
        subnets=[{"id": "s", "network_id": "n", "cidr": "192.168.1.0/24"}],
        routers=[{"id": "r", "name": "net", "project_id": "p1"}],
        **more,
    )


def test_a_network_that_is_there_is_left_alone() -> None:
    assert make_plan(wish(networks=[NETWORK]), complete()) == []


def test_another_projects_network_of_that_name_does_not_count() -> None:
    other = [PUBLIC, {"id": "n", "name": "net", "project_id": "p2"}]
    assert len(make_plan(wish(networks=[NETWORK]), site(networks=other))) == 3


def test_other_addresses_than_declared_are_refused() -> None:
    with pytest.raises(PlanError, match=r"192.168.1.0/24, not 10.0.0.0/24"):
        make_plan(wish(networks=[{**NETWORK, "cidr": "10.0.0.0/24"}]), complete())


def test_a_network_goes_with_its_router_unless_somebody_is_on_it() -> None:
    absent = wish(networks=[{**NETWORK, "state": "absent"}])
    own = [{"id": "1", "network_id": "n", "device_owner": "network:router_interface"}]
    plan = make_plan(absent, complete(ports=own))
    assert words(plan) == [("delete", "router"), ("delete", "network")]
    assert plan[0].target == {"router": "r", "subnet0": "s"}
    used = [*own, {"id": "2", "network_id": "n", "device_owner": "compute:nova"}]
    assert make_plan(absent, complete(ports=used)) == []


def test_rules() -> None:
    group = {"id": "g", "name": "default", "project_id": "p1", "security_group_rules": []}
    plan = make_plan(wish(security_rules=[RULE]), site(security_groups=[group]))
    assert words(plan) == [("create", "security_rule")]
    rule = {**plan[0].body, "id": "x"}
    there = site(security_groups=[{**group, "security_group_rules": [rule]}])
    assert make_plan(wish(security_rules=[RULE]), there) == []
    gone = make_plan(wish(security_rules=[{**RULE, "state": "absent"}]), there)
    assert [operation.target for operation in gone] == [{"rule": "x"}]
    assert rule_name({**RULE, "port_max": 25}) == "tcp 22-25 from 192.0.2.1/32"
    assert rule_name({**RULE, "port_min": None}) == "tcp from 192.0.2.1/32"


def test_images_get_what_they_lack() -> None:
    asked = [{"name": "deb", "properties": {"os_version": 13, "os_type": "linux"}, "tags": ["t"]}]
    image = {"id": "i", "name": "deb", "os_type": "linux", "os_version": "12", "tags": []}
    plan = make_plan(wish(images=asked), site(images=[image]))
    assert words(plan) == [("update", "image"), ("create", "image_tag")]
    assert plan[0].changes == {"os_version": {"before": "12", "after": "13"}}
    with pytest.raises(PlanError, match="no image deb"):
        make_plan(wish(images=asked), site())
    with pytest.raises(PlanError, match="2 images are called deb"):
        make_plan(wish(images=asked), site(images=[image, image]))


def test_unknown_projects_are_refused_to_get_and_ignored_to_lose() -> None:
    nobody = site(projects={"cms": None})
    with pytest.raises(PlanError, match="no project cms"):
        make_plan(wish(networks=[NETWORK], security_rules=[RULE]), nobody)
    assert make_plan(wish(networks=[{**NETWORK, "state": "absent"}]), nobody) == []


def test_an_external_network_that_is_not_there_is_refused() -> None:
    with pytest.raises(PlanError, match="no external network public"):
        make_plan(wish(networks=[NETWORK]), site(networks=[]))


def test_what_users_own() -> None:
    ours = {"kind": "network", "id": "1", "name": "net"}
    theirs = {"kind": "network", "id": "2", "name": "mine"}
    server = {"kind": "server", "id": "3", "name": "net"}
    default = {"kind": "security_group", "id": "4", "name": "default"}
    assert users_own([ours, theirs, server, default], ["net"]) == [theirs, server]
