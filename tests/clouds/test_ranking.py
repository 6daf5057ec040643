# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a wish fits, by what two real clouds say of themselves."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ISSUER, PATIENCE, Cloud, module, run

PREFERENCES = {"north": 2, "south": 1}


@pytest.fixture(scope="module")
def looks(north: Cloud, south: Cloud, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        cloud.name: module(
            "site_info", tmp_path_factory.mktemp(cloud.name), auth=cloud.auth, timeout=PATIENCE,
            projects=["cms", "empty"], gather=["flavors", "images", "quotas"],
        )
        for cloud in (north, south)
    }  # fmt: skip


def agreement(site: str, project: str) -> dict[str, Any]:
    return {
        "group": f"users/{project}", "issuer": ISSUER, "project": project,
        "doc_uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{ISSUER}{site}/{project}")),
        "start_date": "2026-01-01", "end_date": "2026-12-31", "preference": PREFERENCES[site],
        "quotas": {"instances": 300, "cores": 800, "ram_mb": 2000000},
    }  # fmt: skip


def choose(scratch: Path, looks: dict[str, Any], **wish: Any) -> dict[str, Any]:
    """The filter, as a playbook uses it."""
    federation = {
        "plugin": "infn.cloud.federation",
        "federation": {"name": "test", "domain": "cloud.example"},
        "sites": [
            {
                "name": site, "coupling": "federated", "provider": "openstack",
                "credentials": {"cloud": site},
                "identity_provider": {"name": "iam", "protocol": "openid", "issuer": ISSUER},
                "sla": [agreement(site, project) for project in ("cms", "empty")],
            }
            for site in PREFERENCES
        ],
    }  # fmt: skip
    given = {"federation": federation, "wish": wish, "looks": looks}
    (scratch / "given.json").write_text(json.dumps(given), encoding="utf-8")
    expression = "federation | infn.cloud.site_ranking(wish, looks, '2026-06-01')"
    answer = scratch / "answer.json"
    play = [{
        "hosts": "localhost", "connection": "local", "gather_facts": False,
        "tasks": [{"name": "keep", "ansible.builtin.copy": {
            "content": "{{ " + expression + " | to_json }}", "dest": str(answer), "mode": "0600",
        }}],
    }]  # fmt: skip
    (scratch / "play.yml").write_text(yaml.safe_dump(play), encoding="utf-8")
    run(scratch, str(scratch / "play.yml"), "-e", f"@{scratch / 'given.json'}")
    return dict(json.loads(answer.read_text(encoding="utf-8")))


def test_a_wish_goes_to_the_preferred_site_that_has_it(
    looks: dict[str, Any], tmp_path: Path
) -> None:
    found = choose(
        tmp_path, looks, group="users/cms", issuer=ISSUER, cores=4, gpu={"model": "t4"},
        image={"os_distro": "ubuntu", "os_version": "22.04"},
    )  # fmt: skip
    assert [(one["site"], one["flavor"]) for one in found["ranked"]] == [
        ("south", "g1.t4"),
        ("north", "g1.t4"),
    ], found
    image = next(i for i in looks["south"]["site"]["images"] if i["name"] == "ubuntu-22.04")
    assert found["ranked"][0]["image_id"] == image["id"]


def test_a_quota_that_the_cloud_enforces_rules_both_out(
    looks: dict[str, Any], tmp_path: Path
) -> None:
    """The agreement says 800 cores; Nova gives the project 20, which fit 5 servers of 4."""
    fits = choose(tmp_path, looks, group="users/empty", flavor="m1.large", count=5)
    assert [one["room"] for one in fits["ranked"]] == [5, 5], fits
    found = choose(tmp_path, looks, group="users/empty", flavor="m1.large", count=6)
    assert not found["ranked"]
    assert {one["site"] for one in found["unusable"]} == set(PREFERENCES)
    assert all("cores" in " ".join(one["reasons"]) for one in found["unusable"]), found


def test_a_site_that_was_not_reached_is_no_choice(looks: dict[str, Any], tmp_path: Path) -> None:
    lost = {**looks, "south": {"failed": True, "msg": "south: no route to host"}}
    found = choose(tmp_path, lost, group="users/cms", flavor="m1.small")
    assert [one["site"] for one in found["ranked"]] == ["north"]
    assert found["unusable"] == [
        {"site": "south", "reasons": ["site_info failed: south: no route to host"]}
    ], found
