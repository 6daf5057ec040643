# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a federated site, in its order: it joins, is examined, has users, and leaves.

Every check of site_preflight that can fail is made to fail, at the site.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import ISSUER, PATIENCE, Cloud, Member, changes, module


@pytest.fixture(scope="module")
def member(south: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    one = Member(south, tmp_path_factory.mktemp("member"))
    yield one
    one.run(site_state="absent")  # also after a failure half-way
    for project in ("fed-atlas", "fed-lhcb", "fed-foreign"):
        found = south.connection.identity.find_project(project)
        if found is not None:
            south.connection.identity.delete_project(found)


def names(south: Cloud) -> dict[str, set[str]]:
    """What the site has that the role makes."""
    cloud = south.connection
    return {
        "projects": {p.name for p in cloud.identity.projects()} & {"fed-atlas", "fed-lhcb"},
        "groups": {g.name for g in cloud.identity.groups() if g.name.startswith("infn-cloud-")},
        "providers": {p.name for p in cloud.identity.identity_providers()},
        "mappings": {m.id for m in cloud.identity.mappings()},
        "networks": {n.name for n in cloud.network.networks()} - {"public", "private"},
        "routers": {r.name for r in cloud.network.routers()},
    }


BARE: dict[str, set[str]] = {
    kind: set() for kind in ("projects", "groups", "providers", "mappings", "networks", "routers")
}


def test_check_mode_announces_it_all_and_changes_nothing(member: Member, south: Cloud) -> None:
    output = member.run("--check", "--diff")
    assert changes(output) == 2
    for announced in (
        "project fed-atlas",
        "identity_provider infn-cloud",
        "compute_quotas fed-atlas",
        "network infn-cloud of fed-lhcb",
        "tcp 22 from 192.0.2.10/32",
    ):
        assert announced in output
    assert names(south) == BARE


def test_a_project_that_is_there_is_not_taken(member: Member, south: Cloud) -> None:
    foreign = south.connection.identity.create_project(name="fed-foreign", domain_id="default")
    try:
        slas = [{**member.slas[0], "project": "fed-foreign"}]
        output = member.run(slas=slas, fails=True)
    finally:
        south.connection.identity.delete_project(foreign)
    assert "federated_site_adopted_projects" in output
    assert names(south) == BARE


def test_the_site_joins(member: Member, south: Cloud) -> None:
    assert changes(member.run()) == 2
    cloud = south.connection
    assert names(south) == {
        "projects": {"fed-atlas", "fed-lhcb"},
        "groups": {"infn-cloud-atlas", "infn-cloud-lhcb-analysis"},
        "providers": {"infn-cloud"},
        "mappings": {"infn-cloud"},
        "networks": {"infn-cloud"},
        "routers": {"infn-cloud"},
    }
    project = cloud.identity.find_project("fed-atlas")
    limits = cloud.get_compute_quotas(project.id)
    assert (limits.instances, limits.cores, limits.ram) == (5, 10, 20480)
    assert cloud.get_network_quotas(project.id).floating_ips == 2
    (group,) = cloud.network.security_groups(project_id=project.id, name="default")
    assert [r for r in group.security_group_rules if r["remote_ip_prefix"] == "192.0.2.10/32"]
    assert cloud.image.find_image("unknown").os_distro == "debian"


def test_again_nothing_changes(member: Member) -> None:
    assert changes(member.run()) == 0
    assert changes(member.run("--check")) == 0


def test_what_drifted_is_put_right(member: Member, south: Cloud) -> None:
    project = south.connection.identity.find_project("fed-atlas")
    south.connection.set_compute_quotas(project.id, cores=1)
    output = member.run("--diff")
    assert changes(output) == 1
    assert south.connection.get_compute_quotas(project.id).cores == 10


# --- site_preflight ---


def wish(south: Cloud, member: Member, **more: Any) -> dict[str, Any]:
    slas = [
        {
            "group": sla["group"],
            "local_group": "infn-cloud-" + sla["group"].replace("/", "-"),
            "project": sla["project"],
            "quotas": dict(sla["quotas"]),
        }
        for sla in member.slas
    ]
    return {
        "auth": south.auth, "timeout": PATIENCE, "issuer": ISSUER, "slas": slas,
        "public_network": "public", "private_network": "private", "image_tags": ["infn-cloud"],
        "flavors": ["m1.tiny"], **more,
    }  # fmt: skip


def checks(result: dict[str, Any]) -> dict[str, dict[str, str]]:
    assert not result.get("failed"), result
    return {check["name"]: check for check in result["checks"]}


def test_a_good_site_passes_with_a_canary(member: Member, south: Cloud, tmp_path: Path) -> None:
    canary = {"flavor": "g1.t4", "image": "cirros-0.6.1", "network": "private", "timeout": PATIENCE}
    result = module("site_preflight", tmp_path, **wish(south, member, canary=canary))
    bad = [check for check in result["checks"] if check["status"] != "ok"]
    assert not bad
    assert result["ready"]
    assert not result["changed"]
    assert not list(south.connection.compute.servers(all_projects=True, name="infn-cloud-canary"))


def test_check_mode_makes_no_canary(member: Member, south: Cloud, tmp_path: Path) -> None:
    canary = {"flavor": "m1.tiny", "image": "cirros-0.6.1"}
    result = module("site_preflight", tmp_path, "--check", **wish(south, member, canary=canary))
    assert checks(result)["canary"]["status"] == "skipped"


def test_a_canary_that_fails_is_deleted_too(member: Member, south: Cloud, tmp_path: Path) -> None:
    cloud = south.connection
    huge = cloud.compute.create_flavor(name="x1.huge", vcpus=999999, ram=512, disk=1)
    try:
        canary = {
            "flavor": "x1.huge",
            "image": "cirros-0.6.1",
            "network": "private",
            "timeout": PATIENCE,
        }
        admin = cloud.identity.find_project("admin").id
        cloud.set_compute_quotas(admin, cores=-1)
        result = module("site_preflight", tmp_path, **wish(south, member, canary=canary))
    finally:
        cloud.compute.delete_flavor(huge)
    assert checks(result)["canary"]["status"] == "failed"
    assert "No valid host" in checks(result)["canary"]["found"]
    assert not list(cloud.compute.servers(all_projects=True, name="infn-cloud-canary"))


def test_what_the_wish_gets_wrong_is_found(member: Member, south: Cloud, tmp_path: Path) -> None:
    """One call in which everything is wrong that needs no change at the site."""
    wrong = wish(
        south, member, issuer=ISSUER.rstrip("/"), public_network="private",
        private_network="nowhere", image_tags=["no-such-tag"], flavors=["m9.vast"],
        canary={"flavor": "m9.vast", "image": "cirros-0.6.1"},
    )  # fmt: skip
    wrong["slas"][0]["quotas"]["cores"] = 11
    wrong["slas"][1]["project"] = "fed-nobody"
    found = checks(module("site_preflight", tmp_path, **wrong))
    failed = {name for name, check in found.items() if check["status"] == "failed"}
    assert failed == {
        "identity_provider", "quotas of fed-atlas", "project fed-nobody", "public_network",
        "private_network", "images", "flavors", "canary",
    }  # fmt: skip
    assert f"tokens have '{ISSUER.rstrip('/')}'" in found["identity_provider"]["found"]
    assert "slash" in found["identity_provider"]["remedy"]
    assert found["quotas of fed-atlas"]["found"] == "cores 10, agreed 11"
    assert "not external" in found["public_network"]["found"]
    assert all(found[name]["remedy"] for name in failed)


def test_what_the_site_gets_wrong_is_found(member: Member, south: Cloud, tmp_path: Path) -> None:
    cloud = south.connection
    identity = cloud.identity
    group = identity.find_group("infn-cloud-atlas")
    project = identity.find_project("fed-atlas")
    role = identity.find_role("member")
    gpu = cloud.compute.find_flavor("g2.a30")
    image = cloud.image.find_image("almalinux-9")
    identity.unassign_project_role_from_group(project, group, role)
    other = {"type": "HTTP_OIDC_GROUPS", "any_one_of": ["other"]}
    rule = {"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "HTTP_OIDC_SUB"}, other]}
    identity.update_mapping("infn-cloud", rules=[rule])
    cloud.compute.delete_flavor_extra_specs_property(gpu, "gpu_model")
    cloud.image.update_image(image, os_version="")
    south.on_host("systemctl", "stop", "cinder-api")
    try:
        found = checks(module("site_preflight", tmp_path, **wish(south, member)))
    finally:
        south.on_host("systemctl", "start", "cinder-api")
        cloud.image.update_image(image, os_version="9")
        cloud.compute.create_flavor_extra_specs(gpu, {"gpu_model": "A30"})
        identity.assign_project_role_to_group(project, group, role)
    failed = {name for name, check in found.items() if check["status"] == "failed"}
    assert failed == {"services", "mapping", "group of fed-atlas", "images", "gpu_flavors"}
    assert "volume" in found["services"]["found"]
    assert "atlas, lhcb/analysis" in found["mapping"]["found"]
    assert "almalinux-9 lacks os_version" in found["images"]["found"]
    assert "gpu_model=None" in found["gpu_flavors"]["found"]
    # What cannot be learned is skipped, and says why: volumes are agreed, their service is down.
    assert found["quotas of fed-atlas"]["status"] == "skipped"
    assert "volumes" in found["quotas of fed-atlas"]["found"]


def test_tokens_in_the_clear_are_found(member: Member, south: Cloud, tmp_path: Path) -> None:
    auth = {**south.auth, "auth_url": "http://10.202.2.11:5000/v3"}
    found = checks(module("site_preflight", tmp_path, **wish(south, member, auth=auth)))
    assert found["tls"]["status"] == "failed"
    assert "auth.auth_url" in found["tls"]["found"]


def test_a_login_that_fails_is_the_only_check(south: Cloud, member: Member, tmp_path: Path) -> None:
    auth = {**south.auth, "password": "not-the-password"}
    result = module("site_preflight", tmp_path, **wish(south, member, auth=auth))
    assert [(c["name"], c["status"]) for c in result["checks"]] == [("login", "failed")]
    assert not result["ready"]


def test_the_role_mends_the_mapping(member: Member) -> None:
    assert changes(member.run()) == 1


# --- it leaves ---


def test_leaving_spares_what_users_have(member: Member, south: Cloud) -> None:
    cloud = south.connection
    project = cloud.identity.find_project("fed-atlas")
    me = cloud.current_user_id
    cloud.identity.assign_project_role_to_user(project, me, cloud.identity.find_role("member"))
    own = cloud.connect_as_project("fed-atlas")
    network = next(n for n in own.network.networks(name="infn-cloud", project_id=project.id))
    server = own.compute.create_server(
        name="analysis", flavor_id=own.compute.find_flavor("m1.tiny").id,
        image_id=own.image.find_image("cirros-0.6.1").id, networks=[{"uuid": network.id}],
    )  # fmt: skip
    own.compute.wait_for_server(server, wait=PATIENCE)
    announced = member.run("--check", site_state="absent")
    assert "fed-atlas: server analysis" in announced
    assert names(south)["providers"] == {"infn-cloud"}, "check mode changed something"

    output = member.run(site_state="absent")
    assert "fed-atlas: server analysis" in output
    left = names(south)
    assert left["projects"] == {"fed-atlas"}, "the empty project goes, the other stays"
    assert left["networks"] == {"infn-cloud"}, "the server's network stays"
    assert not left["providers"] and not left["mappings"] and not left["groups"]
    assert cloud.compute.get_server(server.id).status == "ACTIVE"
    assert changes(member.run(site_state="absent")) == 0

    cloud.compute.delete_server(server.id)
    end = time.monotonic() + PATIENCE
    while cloud.compute.find_server(server.id, all_projects=True, details=False):
        assert time.monotonic() < end, "the server does not go"
        time.sleep(1)
    assert changes(member.run(site_state="absent")) == 2
    assert names(south) == BARE
    assert changes(member.run(site_state="absent")) == 0
